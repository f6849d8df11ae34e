"""Replicas: the rate of three bridges on one PostgreSQL against one bridge.

The messages are stored in one commit after all bridges have started. The sandbox's log must then have each
message once, and the messages of each chat in the order of acceptance.

    python -m benchmarks.replicas [--pairs 3] [--messages 4000]
"""

import argparse
import os
import time
from collections import Counter

import orjson

from benchmarks import filling, machine
from benchmarks.machine import Ratios
from benchmarks.programs import ANY, FIRST_CHAT, Bench, Program, cpu_of_family, make_chats
from services.kit.database.postgres import NOTIFY_CHANNEL
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.telegram.text import REPEATED
from tests.servers import Postgres

REPLICAS = 3
PER_CHAT = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=4_000)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rate = Ratios(
        f"rate of {REPLICAS} bridges against one, {cores} cores", "/s", f"in proportion to the cores: {cores}"
    )
    cpu = Ratios("the bridges' CPU a message", "µs", "")
    used = Ratios("CPU of bridges, PostgreSQL and sandbox, of one core", "%", f"at most {100 * cores} %")
    with Bench() as bench:
        postgres = bench.postgres(core=ANY)
        if postgres is None:
            raise SystemExit("benchmarks.replicas needs PostgreSQL: apt-get install postgresql")
        sandbox = bench.sandbox(core=ANY, SANDBOX_LOG_KEPT="2000000")
        make_chats(sandbox, options.messages // PER_CHAT)
        for number in range(options.pairs):
            one = _run(bench, postgres, sandbox, name=f"one_{number}", replicas=1, messages=options.messages)
            several = _run(
                bench,
                postgres,
                sandbox,
                name=f"several_{number}",
                replicas=REPLICAS,
                messages=options.messages,
            )
            print(f"pair {number + 1}: {several[0]:,.0f}/s and {one[0]:,.0f}/s", flush=True)
            for row, value, base in zip((rate, cpu, used), several, one, strict=True):
                row.add(value, base)
    runs = 2 * options.pairs
    machine.report(
        "Replicas on one PostgreSQL",
        [rate, cpu, used],
        [
            f"{options.messages:,} messages are queued, {PER_CHAT} in each chat; PostgreSQL runs with fsync.",
            (
                "No process is pinned: the bridges, PostgreSQL and the sandbox share all cores. Three "
                "bridges can only use what one bridge leaves idle."
            ),
            (
                f"The sandbox's log after each of the {runs} runs: no message twice, none missing, and each "
                "chat in the order of acceptance."
            ),
        ],
    )


def _run(
    bench: Bench, postgres: Postgres, sandbox: Program, *, name: str, replicas: int, messages: int
) -> tuple[float, float, float]:
    """Messages a second, the bridges' CPU a message in microseconds, and percent of a core of all."""
    postgres.sql(f"CREATE DATABASE {name}")
    url = postgres.url(name)
    chats = messages // PER_CHAT
    first = _next_cursor(sandbox)
    # Not pinned: the measurement is of the whole machine.
    bridges = [
        bench.bridge(sandbox.url, f"{name}_{number}", DATABASE_URL=url, SEND_CONCURRENCY="64", core=ANY)
        for number in range(replicas)
    ]

    def spent() -> tuple[float, float]:
        bridges_cpu = sum(bridge.cpu_seconds() for bridge in bridges)
        return bridges_cpu, bridges_cpu + sandbox.cpu_seconds() + cpu_of_family(postgres.process.pid)

    # After all have started, and in one commit: a starting bridge would take CPU from the others.
    filling.fill(url, [FIRST_CHAT + number % chats for number in range(messages)], one_commit=True)
    before = spent()
    filling.rows(url, f"SELECT pg_notify('{NOTIFY_CHANNEL}', '{CHANNEL}')")
    unfinished = "SELECT count(*) FROM message WHERE state <> 'delivered'"
    while filling.rows(url, unfinished)[0][0]:
        time.sleep(0.5)
    unknown = filling.rows(
        url, "SELECT reason, count(*) FROM attempt WHERE outcome = 'unknown' GROUP BY reason ORDER BY 1"
    )
    if unknown:
        print(
            "attempts with an unknown outcome:", ", ".join(f"{count} {reason}" for reason, count in unknown)
        )
    ours, everything = (after - earlier for after, earlier in zip(spent(), before, strict=True))
    for bridge in bridges:
        bridge.stop()
    _check(sandbox, first, messages)
    rate = filling.per_second(filling.delivered(url))
    return rate, 1e6 * ours / messages, 100 * everything / messages * rate


def _next_cursor(sandbox: Program) -> str:
    cursor = "0"
    while True:
        page = sandbox.client.get("/control/log", params={"cursor": cursor, "limit": 10_000})
        if not page.raise_for_status().content:
            return cursor
        cursor = page.headers["X-Next-Cursor"]


def _check(sandbox: Program, cursor: str, messages: int) -> None:
    """Checks the deliveries against the sandbox's log, which is independent of the database.

    Raises:
        SystemExit: a message is missing, is there twice, or is out of order.
    """
    order: dict[int, list[int]] = {}
    while True:
        page = sandbox.client.get(
            "/control/log", params={"cursor": cursor, "limit": 10_000}
        ).raise_for_status()
        if not page.content:
            break
        cursor = page.headers["X-Next-Cursor"]
        for entry in map(orjson.loads, page.content.splitlines()):
            if entry["kind"] == "call" and entry.get("delivered") and entry["method"] == "sendMessage":
                # The note of a possible repetition stands above the text.
                text = entry["text"].removeprefix(f"{REPEATED}\n")
                order.setdefault(entry["chat_id"], []).append(int(text.split()[2]))
    numbers = Counter(number for sent in order.values() for number in sent)
    twice = [number for number, times in numbers.items() if times > 1]
    late = [chat for chat, sent in order.items() if sent != sorted(sent)]
    if len(numbers) != messages or twice or late:
        raise SystemExit(
            f"{messages - len(numbers)} missing, {len(twice)} twice, {len(late)} chats out of order"
        )


if __name__ == "__main__":
    main()
