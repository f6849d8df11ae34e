"""Intake: POST /events, on disk before the 202, against plain FastAPI that stores nothing.

The server runs on one core, wrk on the other. The stores are SQLite (synchronous=FULL) and PostgreSQL with
fsync, which runs on wrk's core; the report gives the CPU that both take there.

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
from benchmarks.programs import KEY, Bench, Program, cpu_of_family
from tests.ports import free_port

#: For the ratio of requests per second, at 64 connections.
GOAL = "≥ 0.75"

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
            name: (Ratios(f"requests/s, {name}", "/s", GOAL), Ratios(f"CPU a request, {name}", "µs", ""))
            for name in bridges
        }
        other_core = OtherCore(postgres.process.pid if postgres else None)
        for _ in range(options.pairs):
            for name, bridge in bridges.items():
                baseline = _load(bench, plain, options.seconds, options.connections)
                before = other_core.seconds()
                ours = _load(bench, bridge, options.seconds, options.connections)
                other_core.note(name, before, ours[0] * options.seconds)
                print(f"{name}: {ours[0]:,.0f}/s, plain FastAPI {baseline[0]:,.0f}/s", flush=True)
                for row, value, base in zip(rows[name], ours, baseline, strict=True):
                    row.add(value, base)
    machine.report(
        "Durable intake against plain FastAPI without storage",
        [row for both in rows.values() for row in both],
        [
            (
                f"{options.connections} connections (the goal is for 64), {options.seconds} s a measurement, "
                f"one event of {len(_body())} bytes a request, answered 202 after its commit."
            ),
            "The baseline validates the same pydantic model on uvicorn with uvloop and httptools.",
            "CPU is that of the server process. On the other core a request takes:",
            *other_core.lines(),
        ],
    )


class OtherCore:
    """The CPU of wrk and PostgreSQL, which share the other core."""

    def __init__(self, postgres: int | None) -> None:
        self._postgres = postgres
        self._noted: dict[str, list[tuple[float, float]]] = {}

    def seconds(self) -> tuple[float, float]:
        """CPU seconds of wrk and of PostgreSQL so far."""
        loads = resource.getrusage(resource.RUSAGE_CHILDREN)
        return loads.ru_utime + loads.ru_stime, cpu_of_family(self._postgres) if self._postgres else 0.0

    def note(self, name: str, before: tuple[float, float], requests: float) -> None:
        """Adds one measurement: the seconds before it, and its number of requests."""
        wrk, postgres = (
            1e6 * (after - earlier) / requests for after, earlier in zip(self.seconds(), before, strict=True)
        )
        self._noted.setdefault(name, []).append((wrk, postgres))

    def lines(self) -> list[str]:
        """Notes for the report: CPU per request, median."""
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
    # At this rate the bot sends one message; all others stay queued, so that only the intake is measured.
    sandbox = bench.sandbox(f"sandbox-{name}")
    return bench.bridge(sandbox.url, name, DATABASE_URL=url, TELEGRAM_BOT_PER_SECOND="0.00001")


def _load(bench: Bench, server: Program, seconds: int, connections: int) -> tuple[float, float]:
    """Requests per second, and the server's CPU per request in microseconds."""
    script = Path(bench.folder / "post.lua")
    script.write_text(_SCRIPT.format(body=_body(), key=KEY), encoding="utf-8")
    cpu = server.cpu_seconds()
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", script, f"{server.url}/events"],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {bench.other}),
    ).stdout
    cpu = server.cpu_seconds() - cpu
    if refused := re.search(r"Non-2xx.*|Socket errors.*", output):
        raise SystemExit(f"{server.process.args!r}: {refused[0]}")
    requests = float(found[1]) if (found := re.search(r"(\d+) requests in", output)) else 0.0
    rate = float(found[1]) if (found := re.search(r"Requests/sec:\s+([\d.]+)", output)) else 0.0
    return rate, 1e6 * cpu / requests


if __name__ == "__main__":
    main()
