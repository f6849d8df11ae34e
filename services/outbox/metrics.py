"""Metrics of the delivery engine: bounded labels, every series from the start."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.kit.telemetry.buckets import MILLISECONDS_TO_A_DAY
from services.outbox.messages import MessageState, Outcome, Reason, Settled, is_failure

#: Methods whose series exist from the start; those of others are made at their first call.
METHODS = ("sendMessage",)


class DeliveryRate(Collector):
    """Share of finished messages that were delivered, over the last hour; no sample while none finished."""

    def __init__(self) -> None:
        self.percent: float | None = None

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "cctelegram_delivery_rate_percent",
            "Percentage of the messages finished in the last hour that were delivered",
        )
        if self.percent is not None:
            family.add_metric([], self.percent)
        yield family


class QueueGauges(Collector):
    """The queue as measured last; no sample before the first time, since 0 would mean an empty queue.

    Attributes:
        depth: messages by state, and the number of correlation ids with unfinished messages; None before.
        oldest_age: returns the age of the oldest waiting message now, seconds; None if none waits.
    """

    def __init__(self) -> None:
        self.depth: tuple[Mapping[str, int], int] | None = None
        self.oldest_age: Callable[[], float | None] = lambda: None

    def collect(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "cctelegram_queue_depth",
            "Messages, by state; scheduled messages are counted apart from queued ones",
            labels=["state"],
        )
        oldest = GaugeMetricFamily(
            "cctelegram_oldest_message_age_seconds",
            "Age of the oldest unfinished message that was due; 0 if there is none",
        )
        correlations = GaugeMetricFamily(
            "cctelegram_active_correlations",
            "Correlation ids that have unfinished messages, counted up to 10,000 messages",
        )
        if self.depth is not None:
            by_state, active = self.depth
            for state, number in by_state.items():
                states.add_metric([state], number)
            oldest.add_metric([], self.oldest_age() or 0.0)
            correlations.add_metric([], active)
        yield from (states, oldest, correlations)


class OutboxMetrics:
    """Counts, durations and queue gauges of messages.

    Args:
        registry: of the service.
        categories: event type → category, for the series of accepted messages.
    """

    def __init__(self, registry: CollectorRegistry, categories: dict[str, str]) -> None:
        self.accepted = Counter(
            "cctelegram_messages",
            "Messages accepted, by event type and category",
            ["type", "category"],
            registry=registry,
        )
        self.delivered = Counter("cctelegram_messages_delivered", "Messages delivered", registry=registry)
        self.failed = Counter(
            "cctelegram_messages_failed",
            "Messages that ended undelivered, by reason, but for muted, superseded and cancelled ones",
            ["reason"],
            registry=registry,
        )
        self.duration = Histogram(
            "cctelegram_message_duration_seconds",
            "Time from accepting a message, or from its scheduled time or its replay, to delivering it",
            buckets=MILLISECONDS_TO_A_DAY,
            registry=registry,
        )
        self.api_response = Histogram(
            "cctelegram_telegram_api_response_seconds",
            "Response time of the Telegram Bot API, by method and outcome",
            ["method", "outcome"],
            buckets=(0.05, 0.2, 1, 5),
            registry=registry,
        )
        self.retries = Counter(
            "cctelegram_retries",
            "Delivery attempts after which the message waits for the next one, by reason",
            ["reason"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "cctelegram_dead_letters",
            "Messages moved to the dead letters, by reason",
            ["reason"],
            registry=registry,
        )
        self.muted = Counter(
            "cctelegram_messages_muted", "Messages suppressed because their chat is muted", registry=registry
        )
        self.unknown = Counter(
            "cctelegram_unknown_outcomes",
            "Delivery attempts with an unknown outcome, by reason",
            ["reason"],
            registry=registry,
        )
        self.limiter_wait = Histogram(
            "cctelegram_rate_limit_wait_seconds",
            "Time that Telegram's rate limits delayed a delivery attempt",
            buckets=MILLISECONDS_TO_A_DAY,
            registry=registry,
        )
        self.queue = QueueGauges()
        registry.register(self.queue)
        self.delivery_rate = DeliveryRate()
        registry.register(self.delivery_rate)
        self._accepted: dict[tuple[str, str], Counter] = {}
        self._responses: dict[tuple[str, str], Histogram] = {}
        self._initialise(categories)

    def count_accepted(self, kind: str, category: str, messages: int) -> None:
        """Counts the accepted messages of one event."""
        bound = self._accepted.get((kind, category))
        if bound is None:
            # Finding a series by its labels costs as much as counting.
            bound = self._accepted[kind, category] = self.accepted.labels(kind, category)
        bound.inc(messages)

    def observe_response(self, method: str, outcome: Outcome, seconds: float) -> None:
        """Records the response time of one Bot API call."""
        bound = self._responses.get((method, outcome))
        if bound is None:
            bound = self._responses[method, outcome] = self.api_response.labels(method, outcome.value)
        bound.observe(seconds)

    def count(self, batch: Sequence[Settled], now: float) -> None:
        """What became of messages, after it is durable."""
        entered = [s.message.entered_at for s in batch if s.decision.state is MessageState.DELIVERED]
        self.delivered.inc(len(entered))
        for at in entered:
            # Not below 0 after the clock was set back.
            self.duration.observe(max(0.0, now - at))
        for settled in batch:
            if settled.decision.state is not MessageState.DELIVERED:
                self._count_other(settled)

    def count_alike(self, state: MessageState, reason: Reason, messages: int) -> None:
        """Counts messages that ended as the message that shows them."""
        if state is MessageState.DELIVERED:
            self.delivered.inc(messages)
        if is_failure(state, reason):
            self.failed.labels(reason.value).inc(messages)
        if state is MessageState.DEAD_LETTER:
            self.dead_letters.labels(reason.value).inc(messages)
        if state is MessageState.SUPPRESSED and reason is Reason.MUTED:
            self.muted.inc(messages)

    def _count_other(self, settled: Settled) -> None:
        reason = settled.result.reason.value
        if settled.result.outcome is Outcome.UNKNOWN:
            self.unknown.labels(reason).inc()
        state = settled.decision.state
        if is_failure(state, settled.result.reason):
            self.failed.labels(reason).inc()
        match state:
            case MessageState.SUPPRESSED if settled.result.reason is Reason.MUTED:
                self.muted.inc()
            case MessageState.DEAD_LETTER:
                self.dead_letters.labels(reason).inc()
            case MessageState.RETRY_WAIT:
                self.retries.labels(reason).inc()
            case MessageState.QUEUED if settled.decision.plain and not settled.message.plain:
                # Telegram refused the entities; the next attempt is plain text, at once.
                self.retries.labels(reason).inc()

    def _initialise(self, categories: dict[str, str]) -> None:
        for kind, category in categories.items():
            self.accepted.labels(kind, category)
        for reason in Reason:
            self.failed.labels(reason.value)
            self.retries.labels(reason.value)
            self.dead_letters.labels(reason.value)
            self.unknown.labels(reason.value)
        for method in METHODS:
            for outcome in Outcome:
                self.api_response.labels(method, outcome.value)
