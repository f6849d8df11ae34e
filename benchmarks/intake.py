"""Intake: POST /events that is on disk before the 202, against plain FastAPI that stores nothing.

One server on one core at a time, wrk with its connections on the other; SQLite (FULL) and PostgreSQL
(waiting for its disk, beside wrk on the other core: what both take of it is told).

    python -m benchmarks.intake [--pairs 5] [--seconds 4] [--connections 64]
"""

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
from pathlib import Path

import orjson

from benchmarks import filling, machine
from benchmarks.machine import Ratios
from benchmarks.programs import KEY, Bench, Program, cpu_of_family, free_port

_SCRIPT = """wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("benchmarks.intake needs wrk, as the load generator: apt-get install wrk")
    with Bench() as bench:
        plain = _plain(bench)
        bridges = {"SQLite, synchronous=FULL": _bridge(bench, "sqlite", "")}
        postgres = bench.postgres()
        if postgres is None:
            print("PostgreSQL is not installed: only SQLite is measured")
        else:
            bridges["PostgreSQL, fsync on"] = _bridge(bench, "postgres", postgres.url("postgres"))
        rows = {
            name: (Ratios(f"requests/s, {name}", "/s", "≥ 1.0"), Ratios(f"CPU a request, {name}", "µs", ""))
            for name in bridges
        }
        beside = Beside(postgres.process.pid if postgres else None)
        for _ in range(options.pairs):
            for name, bridge in bridges.items():
                baseline = _load(bench, plain, options.seconds, options.connections)
                before = beside.seconds()
                ours = _load(bench, bridge, options.seconds, options.connections)
                beside.note(name, before, ours[0] * options.seconds)
                print(f"{name}: {ours[0]:,.0f}/s, plain FastAPI {baseline[0]:,.0f}/s", flush=True)
                for row, value, base in zip(rows[name], ours, baseline, strict=True):
                    row.add(value, base)
    machine.report(
        "Durable intake against plain FastAPI without storage",
        [row for both in rows.values() for row in both],
        [
            (
                f"{options.connections} connections, {options.seconds} s a measurement, one event of "
                f"{len(_body())} bytes a request, each answered 202 after its commit."
            ),
            "The baseline validates the same pydantic model on uvicorn with uvloop and httptools.",
            "CPU is the server process's. On the other core a request cost:",
            *beside.lines(),
        ],
    )


class Beside:
    """CPU of what works on the other core: wrk, and PostgreSQL where that is the store."""

    def __init__(self, postgres: int | None) -> None:
        self._postgres = postgres
        self._noted: dict[str, list[tuple[float, float]]] = {}

    def seconds(self) -> tuple[float, float]:
        """Of wrk, and of PostgreSQL, so far."""
        loads = resource.getrusage(resource.RUSAGE_CHILDREN)
        return loads.ru_utime + loads.ru_stime, cpu_of_family(self._postgres) if self._postgres else 0.0

    def note(self, name: str, before: tuple[float, float], requests: float) -> None:
        """One load of a store."""
        wrk, postgres = (
            1e6 * (after - earlier) / requests for after, earlier in zip(self.seconds(), before, strict=True)
        )
        self._noted.setdefault(name, []).append((wrk, postgres))

    def lines(self) -> list[str]:
        """For the report."""
        middle = {
            name: [statistics.median(each) for each in zip(*noted, strict=True)]
            for name, noted in self._noted.items()
        }
        return [f"{name}: wrk {wrk:.0f} µs, PostgreSQL {pg:.0f} µs." for name, (wrk, pg) in middle.items()]


def _body() -> str:
    return orjson.dumps(filling.EVENT | {"chat_id": 1001}).decode()


def _plain(bench: Bench) -> Program:
    port = free_port()
    command = ["uvicorn", "benchmarks.plain:app", "--port", str(port), "--no-access-log", "--log-level"]
    return bench.start([*command, "warning"], bench.measured, f"http://127.0.0.1:{port}")


def _bridge(bench: Bench, name: str, url: str) -> Program:
    # This measures the intake, and what is accepted waits: so slow a bot sends one message and no more.
    sandbox = bench.sandbox(f"sandbox-{name}")
    return bench.bridge(sandbox.url, name, DATABASE_URL=url, TELEGRAM_BOT_PER_SECOND="0.00001")


def _load(bench: Bench, server: Program, seconds: int, connections: int) -> tuple[float, float]:
    """Requests a second, and the server's CPU a request in microseconds."""
    script = Path(bench.folder / "post.lua")
    script.write_text(_SCRIPT.format(body=_body(), key=KEY), encoding="utf-8")
    cpu = server.cpu_seconds()
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", script, f"{server.url}/events"],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {bench.other}),
    ).stdout
    cpu = server.cpu_seconds() - cpu
    if refused := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise SystemExit(f"{server.process.args}: {refused[0]}")
    requests = float(found[1]) if (found := re.search(r"(\d+) requests in", said)) else 0.0
    rate = float(found[1]) if (found := re.search(r"Requests/sec:\s+([\d.]+)", said)) else 0.0
    return rate, 1e6 * cpu / requests


if __name__ == "__main__":
    main()
