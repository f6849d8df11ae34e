"""Telemetry: what it costs a delivered message, everything on against everything off.

On: every message traced, spans sent to a receiver in another process, metrics scraped each second, logs
at INFO. Off: no spans, no scrapes, no logs, and metrics that do nothing. The same messages are posted to
either bridge in turns, one a request, and delivered to the sandbox; CPU is the bridge process's own.

    python -m benchmarks.telemetry [--pairs 5] [--messages 3000]
"""

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import orjson
import uvloop

from benchmarks import filling, machine
from benchmarks.machine import Ratios
from benchmarks.programs import FIRST_CHAT, KEY, Bench, Program, at_once, free_port, make_chats, on_core

AT_ONCE = 32
SPANS_A_MESSAGE = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=3_000)
    options = parser.parse_args()
    cpu = Ratios("CPU a message, all on against all off", "µs", "≤ 1.02")
    memory = Ratios("memory (RSS)", "MB", "≤ 50 MB more")
    with Bench() as bench:
        # One each: Telegram gives the updates of a bot to one reader.
        sandboxes = [bench.sandbox("sandbox-on"), bench.sandbox("sandbox-off")]
        for sandbox in sandboxes:
            make_chats(sandbox, options.messages)
        receiver = _receiver(bench)
        on = bench.bridge(sandboxes[0].url, "on", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, LOG_LEVEL="INFO")
        off = bench.bridge(sandboxes[1].url, "off", module="benchmarks.silent", LOG_LEVEL="ERROR")
        with on_core(bench.other):
            for name, bridge in (("on", on), ("off", off)):
                _cost(bench, name, bridge, options.messages // 4)
            for number in range(options.pairs):
                with _scraped(on):
                    ours = _cost(bench, "on", on, options.messages)
                baseline = _cost(bench, "off", off, options.messages)
                print(f"pair {number + 1}: {ours:,.0f} µs and {baseline:,.0f} µs a message", flush=True)
                cpu.add(ours, baseline)
                memory.add(on.memory_bytes() / 1e6, off.memory_bytes() / 1e6)
        time.sleep(6)
        spans = receiver.get("/spans")["spans"]
        messages = options.messages * options.pairs + options.messages // 4
    machine.report(
        "All telemetry on against all off",
        [cpu, memory],
        [
            (
                f"{options.messages:,} messages a measurement, one a request, {AT_ONCE} requests at once, "
                "accepted on SQLite FULL and delivered to the sandbox."
            ),
            (
                f"The receiver got {spans:,} spans for {messages:,} messages "
                f"({spans / messages:.2f} each; {SPANS_A_MESSAGE} are told)."
            ),
        ],
    )


def _receiver(bench: Bench) -> Program:
    port = free_port()
    return bench.start(["benchmarks.otlp", str(port)], bench.other, f"http://127.0.0.1:{port}")


@contextmanager
def _scraped(bridge: Program) -> Iterator[None]:
    """Its metrics read each second, as Prometheus does."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(1.0):
            bridge.client.get("/metrics").raise_for_status()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _cost(bench: Bench, name: str, bridge: Program, messages: int) -> float:
    """CPU microseconds a message, accepted and delivered."""
    delivered = _delivered(bench, name)
    cpu = bridge.cpu_seconds()
    uvloop.run(_post(bridge.url, messages))
    while _delivered(bench, name) - delivered < messages:
        time.sleep(0.1)
    return 1e6 * (bridge.cpu_seconds() - cpu) / messages


def _delivered(bench: Bench, name: str) -> int:
    """Read beside the bridge: the silent one counts nothing, and neither is asked while it is measured."""
    found = filling.rows(bench.sqlite(name), "SELECT count(*) FROM message WHERE state = 'delivered'")
    return int(found[0][0])


async def _post(url: str, messages: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(number: int) -> None:
            body = orjson.dumps(filling.EVENT | {"chat_id": FIRST_CHAT + number})
            async with session.post(f"{url}/events", data=body) as response:
                response.raise_for_status()

        await at_once(AT_ONCE, messages, post)


if __name__ == "__main__":
    main()
