"""Telemetry: what it costs a delivered message, everything on against everything off, part by part.

On: every message traced, spans sent to a receiver in another process, metrics scraped as often as the
suite's own Prometheus does, logs at INFO. Off: no spans, no scrapes, no logs, and metrics that do nothing.
Between the two stand steps with one part more each. The same messages are posted one a request, and delivered
to the sandbox; CPU is the bridge process's own, until the last span is with its receiver. One bridge is
switched from step to step; memory is that of two others, which stay as they are.

    python -m benchmarks.telemetry [--rounds 60] [--messages 500]
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


@dataclass
class Step:
    """What is on, and what a message cost each time.

    Args:
        more: what it has more than the step before.
        parts: as benchmarks.switched names them.
    """

    more: str
    parts: str
    costs: list[float] = field(default_factory=list)


def steps() -> list[Step]:
    return [
        Step("everything off", "none"),
        Step("counting, and the scrapes", "counting"),
        Step("logs at INFO", "counting+logging"),
        Step("making spans, six a message", "counting+logging+telling"),
        Step("sending the spans", ALL),
    ]


ALL = "counting+logging+telling+sending"


@dataclass
class Measured:
    """A bridge with a sandbox of its own: Telegram gives the updates of a bot to one reader."""

    bench: Bench
    name: str
    bridge: Program
    since_scrape: float = 0.0

    def switch(self, parts: str) -> None:
        flushed = self.bridge.client.post(f"/switch/{parts}").raise_for_status().json()
        if not flushed:
            raise SystemExit("The receiver did not take the spans.")

    def cost(self, parts: str, messages: int) -> float:
        """CPU microseconds a message, accepted and delivered, and whatever is told of it."""
        self.switch(parts)
        delivered, cpu, start = self.delivered(), self.bridge.cpu_seconds(), time.monotonic()
        uvloop.run(_post(self.bridge.url, messages))
        while self.delivered() - delivered < messages:
            time.sleep(0.02)
        if "counting" in parts:
            self.since_scrape += time.monotonic() - start
            while self.since_scrape >= SCRAPE_SECONDS:
                self.since_scrape -= SCRAPE_SECONDS
                _scrape(self.bridge)
        self.switch(parts)
        return 1e6 * (self.bridge.cpu_seconds() - cpu) / messages

    def delivered(self) -> int:
        """Read beside the bridge: the silent one counts nothing, and none is asked while it is measured."""
        query = "SELECT count(*) FROM message WHERE state = 'delivered'"
        return int(filling.rows(self.bench.sqlite(self.name), query)[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--messages", type=int, default=500)
    options = parser.parse_args()
    cpu = Ratios("CPU a message, all on against all off", "µs", "≤ 1.02")
    memory = Ratios("memory (RSS)", "MB", "≤ 50 MB more")
    with Bench() as bench:
        receiver = _receiver(bench)
        measured, off, on = (_start(bench, receiver, options.messages, name) for name in ("cpu", "off", "on"))
        parts = steps()
        with on_core(bench.other):
            for step in parts:
                measured.cost(step.parts, options.messages)
            for number in range(options.rounds):
                # Each is first as often as the others, and goes before another as often as behind it.
                first = number % len(parts)
                turn = parts[first:] + parts[:first]
                for step in turn if number % 2 else turn[::-1]:
                    step.costs.append(measured.cost(step.parts, options.messages))
                costs = ", ".join(f"{step.costs[-1]:,.0f} µs" for step in parts)
                print(f"round {number + 1}: {costs}", flush=True)
                cpu.add(parts[-1].costs[-1], parts[0].costs[-1])
            told = receiver.get("/spans")["spans"]
            for _ in range(MEMORY_ROUNDS):
                off.cost("none", options.messages)
                on.cost(ALL, options.messages)
                memory.add(on.bridge.memory_bytes() / 1e6, off.bridge.memory_bytes() / 1e6)
            scrape = _scrape_cost(on.bridge)
            alone = telemetry_parts.measure(receiver.url)
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
                f"The receiver got {told:,} spans for {messages:,} messages "
                f"({told / messages:.2f} each; {SPANS_A_MESSAGE} are told)."
            ),
            f"Scraped each {SCRAPE_SECONDS:g} s of its own time; a scrape takes {scrape * 1e3:.1f} ms CPU.",
        ],
    )
    _divided(parts)
    telemetry_parts.report(alone)


MEMORY_ROUNDS = 20


def _start(bench: Bench, receiver: Program, messages: int, name: str) -> Measured:
    sandbox = bench.sandbox(f"sandbox-{name}")
    make_chats(sandbox, messages)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    bridge = bench.bridge(sandbox.url, name, module=("benchmarks.switched",), **environment)
    return Measured(bench, name, bridge)


def _receiver(bench: Bench) -> Program:
    port = free_port()
    return bench.start(["benchmarks.otlp", str(port)], bench.other, f"http://127.0.0.1:{port}")


def _scrape(bridge: Program) -> None:
    bridge.client.get("/metrics", headers=SCRAPE).raise_for_status()


def _scrape_cost(bridge: Program, times: int = 100) -> float:
    """CPU seconds of one scrape, each after some counting."""
    cpu = bridge.cpu_seconds()
    for _ in range(times):
        _scrape(bridge)
    return (bridge.cpu_seconds() - cpu) / times


async def _post(url: str, messages: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(number: int) -> None:
            body = orjson.dumps(filling.EVENT | {"chat_id": FIRST_CHAT + number})
            async with session.post(f"{url}/events", data=body) as response:
                response.raise_for_status()

        await at_once(AT_ONCE, messages, post)


def _divided(parts: list[Step]) -> None:
    """What each step cost more than the one before it, and than the first, round by round."""
    print(
        "\n| each with all that stand above it | CPU a message | more than above (middle half) | than off |"
    )
    print("|---|---|---|---|")
    for before, step in zip([None, *parts], parts, strict=False):
        more, all_more = "", ""
        if before is not None:
            low, middle, high = statistics.quantiles(_more(step, before), n=4)
            more = f"{middle:+.0f} µs ({low:+.0f} to {high:+.0f})"
            all_more = f"{statistics.median(_more(step, parts[0])):+.0f} µs"
        print(f"| {step.more} | {statistics.median(step.costs):,.0f} µs | {more} | {all_more} |")


def _more(step: Step, than: Step) -> list[float]:
    return [one - other for one, other in zip(step.costs, than.costs, strict=True)]


if __name__ == "__main__":
    main()
