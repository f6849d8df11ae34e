"""The CPU of each part of a message's telemetry alone, without the noise of a whole bridge.

It calls the service's functions as the worker and the routes call them, in this process.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import filling
from benchmarks.programs import FIRST_CHAT
from services.contracts.events import CATEGORY_OF
from services.kit.settings import ServiceSettings
from services.kit.telemetry import otlp_encoder
from services.kit.telemetry.meters import Registry
from services.kit.telemetry.otlp_encoder import Scope
from services.kit.telemetry.otlp_sender import Destination, SpanCounts, SpanSender
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.middleware import HttpMetrics
from services.outbox.messages import (
    Claimed,
    Decision,
    Lane,
    NewEvent,
    NewMessage,
    Outcome,
    Reason,
    Result,
    Settled,
    State,
    UnknownPolicy,
)
from services.outbox.metrics import OutboxMetrics
from services.outbox.tracing import message_spans

MESSAGES = 5_000
TIMES = 9
#: Messages that a busy bridge stores and settles in one transaction.
TOGETHER = 16
CHATS = 500


@dataclass(frozen=True, slots=True)
class Parts:
    """Median CPU microseconds per message of each part, with the minimum and maximum of the runs."""

    costs: dict[str, tuple[float, float, float]]
    bytes_a_message: int


class _Collector:
    """Collects the spans instead of sending them."""

    def __init__(self) -> None:
        self.spans: list[tuple[Scope, bytes, int]] = []

    def add(self, scope: Scope, spans: bytes, count: int) -> None:
        self.spans.append((scope, spans, count))

    def add_later(self, scope: Scope, write: Callable[[], bytes], count: int) -> None:
        self.add(scope, write(), count)

    def flush(self, _seconds: float) -> bool:
        return True

    def close(self) -> None: ...


def measure(receiver_url: str) -> Parts:
    collector = _Collector()
    telemetry = Telemetry("benchmark", ServiceSettings(), collector)
    metrics = _Metrics()
    made = [_made(number, telemetry) for number in range(MESSAGES)]

    def accepted() -> None:
        for begin in range(0, MESSAGES, TOGETHER):
            group = [one.accepted for one in made[begin : begin + TOGETHER]]
            message_spans.tell_accepted(telemetry, group, time.time())

    def attempts() -> None:
        for begin in range(0, MESSAGES, TOGETHER):
            message_spans.tell_attempts(
                telemetry, [one.settled for one in made[begin : begin + TOGETHER]], time.time()
            )

    def count() -> None:
        for _ in range(MESSAGES):
            metrics.count()

    rounds: dict[str, list[float]] = {}
    for _ in range(TIMES):
        collector.spans.clear()
        for name, part in (("accept, enqueue", accepted), ("queue, pace, send, settle", attempts)):
            rounds.setdefault(f"making the spans {name}", []).append(_cpu(part))
        size = sum(len(spans) for _, spans, _ in collector.spans)
        for name, compression in (("", "none"), (", compressed (gzip)", "gzip")):
            took = 1e6 * _send(receiver_url, collector, compression) / MESSAGES
            rounds.setdefault(f"sending them{name}", []).append(took)
        rounds.setdefault("metrics", []).append(_cpu(count))
    costs = {name: (statistics.median(runs), min(runs), max(runs)) for name, runs in rounds.items()}
    return Parts(costs, size // MESSAGES)


def report(parts: Parts) -> None:
    print("\n| a part alone | CPU a message: median (min to max) |")
    print("|---|---|")
    for name, (middle, low, high) in parts.costs.items():
        print(f"| {name} | {middle:.1f} µs ({low:.1f} to {high:.1f}) |")
    print(
        f"\n{MESSAGES:,} messages, {TIMES} times; the spans of a message are {parts.bytes_a_message:,} bytes."
    )


def _cpu(work: Callable[[], None]) -> float:
    """CPU microseconds per message, of all threads."""
    start = time.process_time()
    work()
    return 1e6 * (time.process_time() - start) / MESSAGES


def _send(url: str, collector: _Collector, compression: str) -> float:
    """CPU seconds to send all collected spans."""
    settings = ServiceSettings(otel_exporter_otlp_endpoint=url, otel_exporter_otlp_compression=compression)
    counts = SpanCounts(Registry())
    to = Destination.of(settings) or Destination("")
    sender = SpanSender(to, otlp_encoder.resource({"service.name": "benchmark"}), counts)
    # The first request is not measured: the client reads the machine's certificates when it is made.
    sender.add(*collector.spans[0])
    while counts.sent.total() < collector.spans[0][2]:
        time.sleep(0.05)
    start = time.process_time()
    for scope, spans, count in collector.spans:
        sender.add(scope, spans, count)
    sender.close()
    if counts.sent.total() != collector.spans[0][2] + sum(count for _, _, count in collector.spans):
        raise SystemExit("The receiver did not take all spans.")
    return time.process_time() - start


class _Metrics:
    """The metrics of one message from its request to its delivery."""

    def __init__(self) -> None:
        registry = Registry()
        http = HttpMetrics(registry)
        self._requests = http.requests.labels("POST", "/events", "2xx")
        self._duration = http.duration.labels("POST", "/events")
        self._outbox = OutboxMetrics(registry, CATEGORY_OF)
        kind = str(filling.EVENT["type"])
        self._kind = kind, CATEGORY_OF[kind]
        self._telemetry = Telemetry("benchmark", ServiceSettings())

    def count(self) -> None:
        self._requests.inc()
        self._duration.observe(0.004)
        self._outbox.accepted.labels(*self._kind).inc()
        self._outbox.limiter_wait.observe(0.0)
        self._telemetry.count_call("telegram", "sendMessage", "200", 0.003)
        self._outbox.api_response.labels("sendMessage", Outcome.SENT.value).observe(0.003)
        self._outbox.delivered.inc()
        self._outbox.duration.observe(0.02)


@dataclass(frozen=True, slots=True)
class _Made:
    """One message as accepted and as settled. Each differs: values that repeat would be cached."""

    accepted: tuple[NewEvent, Sequence[NewMessage]]
    settled: Settled


def _made(number: int, telemetry: Telemetry) -> _Made:
    submission = filling.submission(number, FIRST_CHAT + number % CHATS, telemetry, time.time())
    (event,), ((message,),) = submission.events, submission.messages
    return _Made((event, [message]), _settled(event, message.id, message.chat_id))


def _settled(event: NewEvent, message_id: str, chat_id: int) -> Settled:
    now = event.accepted_at
    claimed = Claimed(
        seq=1,
        id=message_id,
        event_id=event.id,
        event_type=event.type,
        category=event.category,
        source=event.source,
        title=event.title,
        body=event.body,
        correlation_id=event.correlation_id,
        trace=event.trace,
        bot="default",
        chat_id=chat_id,
        thread_id=None,
        lane=Lane.NORMAL,
        silent=False,
        on_unknown=UnknownPolicy.RESEND,
        accepted_at=now,
        due_at=now,
        expires_at=None,
        claimed_at=now + 0.01,
        limiter_wait=0.0,
        attempt=1,
        retries=0,
        part=0,
        possible_duplicate=False,
        plain=False,
    )
    result = Result(Outcome.SENT, Reason.NONE, now + 0.011, now + 0.014, message_id=123_456)
    return Settled(claimed, result, Decision(State.DELIVERED), 1)
