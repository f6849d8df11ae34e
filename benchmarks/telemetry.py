"""Telemetry: what it costs a delivered message, everything on against everything off, part by part.

On: every message traced, spans sent to a receiver in another process, metrics scraped as often as the
suite's own Prometheus does, logs at INFO. Off: no spans, no scrapes, no logs, and metrics that do nothing.
Between the two stand bridges with one part more each. The same messages are posted to all of them in turns,
one a request, and delivered to the sandbox; CPU is the bridge process's own.

    python -m benchmarks.telemetry [--rounds 40] [--messages 400]
"""

import argparse
import statistics
import time
from dataclasses import dataclass, field

import aiohttp
import orjson
import uvloop

from benchmarks import filling, machine, telemetry_parts
from benchmarks.machine import Ratios
from benchmarks.programs import FIRST_CHAT, KEY, Bench, Program, at_once, free_port, make_chats, on_core

AT_ONCE = 32
SPANS_A_MESSAGE = 6
#: As prometheus/prometheus.yml says for the bridge.
SCRAPE_SECONDS = 5.0
SCRAPE = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
#: What each bridge has: name, what it has more than the one before, silenced parts, spans leave, log level.
BRIDGES = (
    ("off", "everything off", ("metrics",), False, "ERROR"),
    ("counting", "counting", (), False, "ERROR"),
    ("logging", "logs at INFO", (), False, "INFO"),
    ("telling", "making spans, six a message", ("sending",), True, "INFO"),
    ("on", "sending the spans, and the scrapes", (), True, "INFO"),
)


@dataclass
class Measured:
    """One of the bridges, and what a message cost it each time."""

    name: str
    more: str
    bridge: Program
    scraped: bool
    costs: list[float] = field(default_factory=list)
    since_scrape: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--messages", type=int, default=400)
    options = parser.parse_args()
    cpu = Ratios("CPU a message, all on against all off", "µs", "≤ 1.02")
    memory = Ratios("memory (RSS)", "MB", "≤ 50 MB more")
    with Bench() as bench:
        receiver = _receiver(bench)
        measured = [_start(bench, receiver, options.messages, *each) for each in BRIDGES]
        off, on = measured[0], measured[-1]
        with on_core(bench.other):
            for each in measured:
                _cost(bench, each, options.messages)
            for number in range(options.rounds):
                # Each is first as often as the others: the machine's moods are not its own.
                first = number % len(measured)
                for each in measured[first:] + measured[:first]:
                    each.costs.append(_cost(bench, each, options.messages))
                costs = ", ".join(f"{each.name} {each.costs[-1]:,.0f} µs" for each in measured)
                print(f"round {number + 1}: {costs}", flush=True)
                cpu.add(on.costs[-1], off.costs[-1])
                memory.add(on.bridge.memory_bytes() / 1e6, off.bridge.memory_bytes() / 1e6)
            scrape = _scrape_cost(on.bridge)
            # The last spans are under way for as long as the sender collects them.
            time.sleep(6)
            spans = receiver.get("/spans")["spans"]
            parts = telemetry_parts.measure(receiver.url)
    messages = options.messages * (options.rounds + 1)
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
            f"Scraped each {SCRAPE_SECONDS:g} s of its own time; a scrape takes {scrape * 1e3:.1f} ms CPU.",
        ],
    )
    _divided(measured)
    telemetry_parts.report(parts)


def _start(
    bench: Bench,
    receiver: Program,
    messages: int,
    name: str,
    more: str,
    silenced: tuple[str, ...],
    tells: bool,
    level: str,
) -> Measured:
    # A sandbox each: Telegram gives the updates of a bot to one reader.
    sandbox = bench.sandbox(f"sandbox-{name}")
    make_chats(sandbox, messages)
    environment = {"LOG_LEVEL": level} | ({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url} if tells else {})
    bridge = bench.bridge(sandbox.url, name, module=("benchmarks.silent", *silenced), **environment)
    return Measured(name, more, bridge, scraped=not silenced and tells)


def _receiver(bench: Bench) -> Program:
    port = free_port()
    return bench.start(["benchmarks.otlp", str(port)], bench.other, f"http://127.0.0.1:{port}")


def _cost(bench: Bench, of: Measured, messages: int) -> float:
    """CPU microseconds a message, accepted and delivered, with the scrapes that fall due meanwhile."""
    delivered = _delivered(bench, of.name)
    cpu, start = of.bridge.cpu_seconds(), time.monotonic()
    uvloop.run(_post(of.bridge.url, messages))
    while _delivered(bench, of.name) - delivered < messages:
        time.sleep(0.02)
    of.since_scrape += time.monotonic() - start
    while of.scraped and of.since_scrape >= SCRAPE_SECONDS:
        of.since_scrape -= SCRAPE_SECONDS
        _scrape(of.bridge)
    return 1e6 * (of.bridge.cpu_seconds() - cpu) / messages


def _scrape(bridge: Program) -> None:
    bridge.client.get("/metrics", headers=SCRAPE).raise_for_status()


def _scrape_cost(bridge: Program, times: int = 100) -> float:
    """CPU seconds of one scrape, each after some counting."""
    cpu = bridge.cpu_seconds()
    for _ in range(times):
        _scrape(bridge)
    return (bridge.cpu_seconds() - cpu) / times


def _delivered(bench: Bench, name: str) -> int:
    """Read beside the bridge: the silent one counts nothing, and none is asked while it is measured."""
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


def _divided(measured: list[Measured]) -> None:
    """What each bridge cost more than the one before it, round by round."""
    print("\n| part by part, each with all that stand above it | CPU a message | more (middle half) |")
    print("|---|---|---|")
    for before, of in zip([None, *measured], measured, strict=False):
        more = ""
        if before is not None:
            extra = [one - other for one, other in zip(of.costs, before.costs, strict=True)]
            low, middle, high = statistics.quantiles(extra, n=4)
            more = f"{middle:+.0f} µs ({low:+.0f} to {high:+.0f})"
        print(f"| {of.more} | {statistics.median(of.costs):,.0f} µs | {more} |")


if __name__ == "__main__":
    main()
