"""CPU of each part of a message's telemetry alone, without the noise of a whole bridge.

It calls the functions of the service as its worker and its routes call them, in this process.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from benchmarks import filling
from benchmarks.programs import FIRST_CHAT
from services.contracts.events import CATEGORY_OF
from services.kit.settings import ServiceSettings
from services.kit.telemetry.span_queue import Write
from services.kit.telemetry.span_writer import SpanWriter
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry
from services.kit.web.internal import InternalRequests
from services.kit.web.middleware import HttpMetrics
from services.outbox.messages import (
    Claimed,
    Decision,
    EventRecord,
    Lane,
    MessageRecord,
    MessageState,
    Outcome,
    Reason,
    Result,
    Settled,
    UnknownPolicy,
)
from services.outbox.metrics import OutboxMetrics
from services.outbox.tracing import message_spans

MESSAGES = 5_000
SPANS_A_MESSAGE = 6
TIMES = 9
#: As many as are stored and settled together where the bridge is busy.
TOGETHER = 16
CHATS = 500


@dataclass(frozen=True, slots=True)
class Parts:
    """Median CPU microseconds a message of each part, with the least and the most of the runs."""

    costs: dict[str, tuple[float, float, float]]
    bytes_a_message: int


class _Requests:
    """Takes spans as the queue does, and keeps the requests that it would send."""

    def __init__(self) -> None:
        self.writer = SpanWriter({"service.name": "benchmark"}, "cctelegram.benchmark", "1")

    def add(self, write: Write, _count: int) -> None:
        write(self.writer)

    def flush(self, _seconds: float) -> bool:
        return True

    def close(self) -> None: ...


def measure(receiver_url: str) -> Parts:
    requests, metrics = _Requests(), _Metrics()
    telemetry = Telemetry("benchmark", ServiceSettings(), requests)
    made = [_made(number, telemetry) for number in range(MESSAGES)]
    rounds: dict[str, list[float]] = {}

    def note(name: str, microseconds: float) -> None:
        rounds.setdefault(name, []).append(microseconds)

    for _ in range(TIMES):
        note("making the spans accept, enqueue", _cpu(partial(_accepted, made, telemetry)))
        note("making the spans queue, pace, send, settle", _cpu(partial(_attempts, made, telemetry)))
        size = requests.writer.take()[0].ByteSize()
        note("making and sending all six", _send(receiver_url, made, "none"))
        note("making and sending all six, compressed (gzip)", _send(receiver_url, made, "gzip"))
        note("metrics", _cpu(metrics.count_all))
    costs = {name: (statistics.median(runs), min(runs), max(runs)) for name, runs in rounds.items()}
    return Parts(costs, size // MESSAGES)


def _accepted(made: Sequence["_Made"], telemetry: Telemetry) -> None:
    for begin in range(0, MESSAGES, TOGETHER):
        group = [one.accepted for one in made[begin : begin + TOGETHER]]
        message_spans.export_accepted(telemetry, group, time.time())


def _attempts(made: Sequence["_Made"], telemetry: Telemetry) -> None:
    for begin in range(0, MESSAGES, TOGETHER):
        batch = [one.settled for one in made[begin : begin + TOGETHER]]
        message_spans.export_attempts(telemetry, batch, time.time())


def report(parts: Parts) -> None:
    print("\n| a part by itself | CPU a message: median (min to max) |")
    print("|---|---|")
    for name, (middle, low, high) in parts.costs.items():
        print(f"| {name} | {middle:.1f} µs ({low:.1f} to {high:.1f}) |")
    print(
        f"\n{MESSAGES:,} messages, {TIMES} times; the spans of a message are {parts.bytes_a_message:,} bytes."
    )


def _cpu(work: Callable[[], None]) -> float:
    """Microseconds a message, of all threads."""
    start = time.process_time()
    work()
    return 1e6 * (time.process_time() - start) / MESSAGES


def _send(url: str, made: Sequence["_Made"], compression: str) -> float:
    """Microseconds a message, until the receiver has all spans."""
    settings = ServiceSettings(otel_exporter_otlp_endpoint=url, otel_exporter_otlp_compression=compression)
    telemetry = Telemetry("benchmark", settings)
    # The client reads the certificates of the machine for its first request: once in a service's life.
    telemetry.export_if_sampled(FinishedSpan("first", telemetry.new_trace(), None, 1.0, 2.0))
    telemetry.tracer_provider.force_flush()

    def work() -> None:
        _accepted(made, telemetry)
        _attempts(made, telemetry)
        telemetry.tracer_provider.force_flush()

    took = _cpu(work)
    telemetry.close()
    if telemetry.registry.get_sample_value("trace_spans_sent_total") != 1 + SPANS_A_MESSAGE * MESSAGES:
        raise SystemExit("The receiver did not take all spans.")
    return took


class _Metrics:
    """What is counted of one message from its request to its delivery."""

    def __init__(self) -> None:
        registry, settings = CollectorRegistry(), ServiceSettings()
        http = HttpMetrics(registry, InternalRequests(settings))
        self._requests = http.requests.labels("POST", "/events", "2xx")
        self._duration = http.duration.labels("POST", "/events")
        self._outbox = OutboxMetrics(registry, CATEGORY_OF)
        kind = str(filling.EVENT["type"])
        self._kind = kind, CATEGORY_OF[kind]
        self._telemetry = Telemetry("benchmark", settings)

    def count_all(self) -> None:
        for _ in range(MESSAGES):
            self._count()

    def _count(self) -> None:
        self._requests.inc()
        self._duration.observe(0.004)
        self._outbox.count_accepted(*self._kind, 1)
        self._outbox.limiter_wait.observe(0.0)
        self._telemetry.count_call("telegram", "sendMessage", "200", 0.003)
        self._outbox.observe_response("sendMessage", Outcome.SENT, 0.003)
        self._outbox.delivered.inc()
        self._outbox.duration.observe(0.02)


@dataclass(frozen=True, slots=True)
class _Made:
    """A message as it was accepted, and as it was settled: each is another, as in a service."""

    accepted: tuple[EventRecord, Sequence[MessageRecord]]
    settled: Settled


def _made(number: int, telemetry: Telemetry) -> _Made:
    submission = filling.submission(number, FIRST_CHAT + number % CHATS, telemetry, time.time())
    (event,), ((message,),) = submission.events, submission.messages
    return _Made((event, [message]), _settled(event, message.id, message.chat_id))


def _settled(event: EventRecord, message_id: str, chat_id: int) -> Settled:
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
    return Settled(claimed, result, Decision(MessageState.DELIVERED), 1)
