"""Telemetry: its CPU and memory, everything on against everything off.

On: every message traced, spans sent to a receiver in another process, metrics scraped, logs at INFO.
Off: no spans, no scrapes, no logs, and metrics that do nothing. Events are posted one per request, accepted
on SQLite and delivered to the sandbox. CPU is that of the bridge's process with all its threads, until the
receiver has the last span. All CPU is measured in one bridge that is switched on and off in turns; memory is
measured in two others that are not switched.

- Full speed: CPU per message, with one more part of the telemetry on at each step.
- A constant rate, as Telegram allows one bot: percent of one core, with a scrape each 15 s.
- Each part alone, in the benchmark's own process.

    python -m benchmarks.telemetry [--rounds 50] [--messages 1000] [--rate-pairs 8] [--rate-seconds 30]
"""

import argparse
import statistics
from dataclasses import dataclass, field

from benchmarks import machine, telemetry_parts
from benchmarks.machine import Ratios
from benchmarks.programs import Bench, Program, on_core
from benchmarks.telemetry_bridge import ALL, CONCURRENCY, NONE, SCRAPE_SECONDS, SwitchedBridge
from tests.ports import free_port

SPANS_PER_MESSAGE = 6
MEMORY_ROUNDS = 20
#: What Telegram allows one bot without payment.
PER_SECOND = 30
#: Prometheus' usual interval. The stack's own is shorter: SCRAPE_SECONDS.
RATE_SCRAPE_SECONDS = 15.0


@dataclass
class Step:
    """Parts of the telemetry, and the costs with them on and with everything off.

    Args:
        adds: what is on that was off in the step before.
        parts: that are on, as benchmarks.switched names them.
    """

    adds: str
    parts: str
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def measure(self, bridge: SwitchedBridge, messages: int, *, off_first: bool) -> None:
        """Adds a pair of costs; the order alternates, since the machine drifts."""
        order = (NONE, self.parts) if off_first else (self.parts, NONE)
        costs = {parts: bridge.cost(parts, messages) for parts in order}
        self.pairs.append((costs[self.parts], costs[NONE]))


def main() -> None:
    options = _options()
    with Bench() as bench:
        receiver = _receiver(bench)
        switched, off, on = (
            SwitchedBridge.start(bench, receiver, name) for name in ("switched", "off", "on")
        )
        with on_core(bench.other):
            for parts in (NONE, ALL):  # warm-up
                switched.cost(parts, options.messages)
            steps = _steps(switched, options.rounds, options.messages)
            spans = receiver.get("/spans")["spans"]
            rate = _at_a_rate(switched, options.rate_pairs, options.rate_seconds)
            memory = _memory(off, on, options.messages)
            scrape = on.scrape_cost()
            parts_alone = telemetry_parts.measure(receiver.url)
    cpu = Ratios("CPU a message, all on against all off", "µs", "≤ 1.10", steps[-1].pairs)
    messages = options.messages * (options.rounds + 1)
    machine.report(
        "All telemetry on against all off",
        [cpu, memory],
        [
            (
                f"{options.messages:,} messages a measurement, one a request, {CONCURRENCY} at once, "
                "accepted on SQLite FULL and delivered to the sandbox."
            ),
            (
                f"The receiver got {spans:,} spans for {messages:,} messages "
                f"({spans / messages:.2f} each; {SPANS_PER_MESSAGE} are made)."
            ),
            f"Scraped each {SCRAPE_SECONDS:g} s of its own time; a scrape takes {scrape * 1e3:.1f} ms CPU.",
        ],
    )
    _report_rate(rate, options.rate_seconds)
    _report_steps(steps)
    telemetry_parts.report(parts_alone)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="of all steps at full speed")
    parser.add_argument("--messages", type=int, default=1000, help="of one measurement at full speed")
    parser.add_argument("--rate-pairs", type=int, default=8, help=f"at {PER_SECOND} messages/s, on and off")
    parser.add_argument("--rate-seconds", type=float, default=30.0, help="of one measurement at that rate")
    options = parser.parse_args()
    if min(options.rounds, options.rate_pairs) < 2:
        parser.error("--rounds and --rate-pairs: at least 2 each, for the spread")
    if options.rate_seconds < RATE_SCRAPE_SECONDS:
        parser.error(f"--rate-seconds: at least {RATE_SCRAPE_SECONDS:g}, the time between two scrapes")
    return options


def _steps(bridge: SwitchedBridge, rounds: int, messages: int) -> list[Step]:
    """The steps, each measured next to everything off: the machine's load changes during a round."""
    steps = [
        Step("metrics, and the scrapes", "metrics"),
        Step("logs at INFO", "metrics+logs"),
        Step("making spans, six a message", "metrics+logs+spans"),
        Step("exporting the spans", ALL),
    ]
    for number in range(rounds):
        for step in steps:
            step.measure(bridge, messages, off_first=bool(number % 2))
        costs = ", ".join("{:,.0f} against {:,.0f} µs".format(*step.pairs[-1]) for step in steps)
        print(f"round {number + 1}: {costs}", flush=True)
    return steps


def _at_a_rate(bridge: SwitchedBridge, pairs: int, seconds: float) -> list[tuple[float, float]]:
    """Percent of one core with everything on and with everything off, in turns."""
    measured = []
    for number in range(pairs):
        order = (NONE, ALL) if number % 2 else (ALL, NONE)
        loads = {parts: bridge.load(parts, seconds, PER_SECOND, RATE_SCRAPE_SECONDS) for parts in order}
        measured.append((loads[ALL], loads[NONE]))
        print(
            "{} messages/s: {:.2f} against {:.2f} % of a core".format(PER_SECOND, *measured[-1]), flush=True
        )
    return measured


def _memory(off: SwitchedBridge, on: SwitchedBridge, messages: int) -> Ratios:
    memory = Ratios("memory (RSS)", "MB", "≤ 50 MB more")
    for _ in range(MEMORY_ROUNDS):
        off.cost(NONE, messages)
        on.cost(ALL, messages)
        memory.add(on.program.memory_bytes() / 1e6, off.program.memory_bytes() / 1e6)
    return memory


def _receiver(bench: Bench) -> Program:
    port = free_port()
    return bench.start(["benchmarks.otlp", str(port)], bench.other, f"http://127.0.0.1:{port}")


def _report_rate(pairs: list[tuple[float, float]], seconds: float) -> None:
    on, off = (statistics.median(side) for side in zip(*pairs, strict=True))
    more = sorted(one - other for one, other in pairs)
    print("\n| compared | all on | all off | more: median (min to max) | goal |\n|---|---|---|---|---|")
    print(
        f"| CPU at {PER_SECOND} messages/s, of one core | {on:.2f} % | {off:.2f} % "
        f"| **{statistics.median(more):+.2f} %** ({more[0]:+.2f} to {more[-1]:+.2f}) | ≤ 1 % of one core |"
    )
    print(
        f"\n{len(pairs)} pairs in turns, {seconds:g} s each, with a scrape each {RATE_SCRAPE_SECONDS:g} s "
        f"where telemetry is on. Mean {statistics.mean(more):+.2f} %, standard error "
        f"{statistics.stdev(more) / len(more) ** 0.5:.2f} %."
    )


def _report_steps(steps: list[Step]) -> None:
    print("\n| on, with all rows above | CPU a message | with everything off | more (middle half) |")
    print("|---|---|---|---|")
    for step in steps:
        on, off = (statistics.median(side) for side in zip(*step.pairs, strict=True))
        low, middle, high = statistics.quantiles((one - other for one, other in step.pairs), n=4)
        print(
            f"| {step.adds} | {on:,.0f} µs | {off:,.0f} µs | {middle:+.0f} µs ({low:+.0f} to {high:+.0f}) |"
        )


if __name__ == "__main__":
    main()
