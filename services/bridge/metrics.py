"""The bridge's own metrics. Those of the delivery engine are in services.outbox.metrics.

Every series exists from the start, so that ``rate()`` counts the first event too. Label values that are
enums of other modules are passed in: this module imports nothing of the bridge.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.kit.telemetry.buckets import SECONDS_TO_A_MONTH
from services.kit.telemetry.telemetry import Telemetry

FETCH_OUTCOMES = ("fetched", "failed", "retried")
FOLDER_OUTCOMES = ("taken", "repeated", "rejected")
SMTP_OUTCOMES = ("stored", "repeated", "refused", "postponed")
SIGNED_REQUEST_OUTCOMES = ("accepted", "refused", "replayed")
WEBHOOK_KINDS = ("approval", "message", "button")


class BridgeMetrics:
    """Gauges of the process.

    Args:
        telemetry: of the service; its memory is read at each scrape.
        connections: returns the number of open client connections.
    """

    def __init__(self, telemetry: Telemetry, connections: Callable[[], int]) -> None:
        registry: CollectorRegistry = telemetry.registry
        memory = Gauge(
            "cctelegram_memory_usage_bytes", "Resident memory of the bridge's process", registry=registry
        )
        memory.set_function(telemetry.memory_bytes)
        active = Gauge(
            "cctelegram_active_connections", "Client connections open to the bridge", registry=registry
        )
        active.set_function(connections)


class CostMetrics:
    """Cost of paid broadcasting.

    Args:
        registry: of the service.
        bots: the names of all bots; one that pays nothing stays at 0.
    """

    def __init__(self, registry: CollectorRegistry, bots: Iterable[str]) -> None:
        self.cost = Counter(
            "message_cost",
            "Telegram Stars billed for paid broadcasting; each replica counts all of them",
            ["bot"],
            registry=registry,
        )
        for bot in bots:
            self.cost.labels(bot)


class ApprovalMetrics:
    """Counts of approvals and of the answers to them.

    Args:
        registry: of the service.
        closed: the states of a closed approval.
        via: the ways an answer can arrive.
        outcomes: the possible results of an answer.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        closed: Iterable[str],
        via: Iterable[str],
        outcomes: Iterable[str],
    ) -> None:
        self.asked = Counter("cctelegram_approvals_asked", "Approvals created", registry=registry)
        self.closed = Counter(
            "cctelegram_approvals_closed",
            "Approvals closed, by their final state",
            ["state"],
            registry=registry,
        )
        self.answers = Counter(
            "cctelegram_approval_answers",
            "Answers to approvals, by the way they arrived and by their result",
            ["via", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "cctelegram_approval_decision_seconds",
            "Time from creating an approval to deciding it",
            buckets=SECONDS_TO_A_MONTH,
            registry=registry,
        )
        for state in closed:
            self.closed.labels(state)
        results = tuple(outcomes)
        for way in via:
            for outcome in results:
                self.answers.labels(way, outcome)


class FileMetrics:
    """Files of events: how much is stored, and downloads by URL."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored_bytes = Gauge(
            "cctelegram_files_stored_bytes",
            "Size of all stored files together, as measured last; every replica has the same store",
            registry=registry,
        )
        self.fetches = Counter(
            "cctelegram_file_fetches",
            "Downloads of attachments by URL: fetched, retried, or failed (the message goes without)",
            ["outcome"],
            registry=registry,
        )
        for outcome in FETCH_OUTCOMES:
            self.fetches.labels(outcome)


class FolderMetrics:
    """Counts of the files in EVENTS_DIR."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.files = Counter(
            "cctelegram_folder_files",
            "Files of EVENTS_DIR that were processed, by outcome",
            ["outcome"],
            registry=registry,
        )
        for outcome in FOLDER_OUTCOMES:
            self.files.labels(outcome)
        self.waiting = Gauge(
            "cctelegram_folder_files_waiting",
            "Files in EVENTS_DIR that are not processed yet",
            registry=registry,
        )


class SmtpMetrics:
    """Counts the mails that came by SMTP, by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._mails = Counter(
            "cctelegram_smtp_mails",
            "Mails that came by SMTP, by outcome; a postponed one can be sent again",
            ["outcome"],
            registry=registry,
        )
        for outcome in SMTP_OUTCOMES:
            self._mails.labels(outcome)

    def count(self, outcome: str) -> None:
        """Counts a mail.

        Args:
            outcome: one of :data:`SMTP_OUTCOMES`.
        """
        self._mails.labels(outcome).inc()


class SignedRequests:
    """Counts requests that are signed instead of carrying a key, by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "cctelegram_signed_requests", "Signed requests, by outcome", ["outcome"], registry=registry
        )
        for outcome in SIGNED_REQUEST_OUTCOMES:
            self._counter.labels(outcome)

    def count(self, outcome: str) -> None:
        self._counter.labels(outcome).inc()


class WebhookMetrics:
    """Counts of outgoing webhook calls.

    Args:
        registry: of the service.
        states: the states of a call after an attempt.
    """

    def __init__(self, registry: CollectorRegistry, states: Iterable[str]) -> None:
        self.calls = Counter(
            "cctelegram_webhook_calls",
            "Attempts to call the webhooks of other programs, by the state of the call afterwards",
            ["kind", "outcome"],
            registry=registry,
        )
        results = tuple(states)
        for kind in WEBHOOK_KINDS:
            for state in results:
                self.calls.labels(kind, state)


def template_failures(registry: CollectorRegistry) -> Counter:
    return Counter(
        "cctelegram_template_failures",
        "Messages with the built-in text because the template of TEMPLATES_DIR failed; the log names it",
        registry=registry,
    )


def templates_reload_failures(registry: CollectorRegistry) -> Counter:
    return Counter(
        "cctelegram_templates_reload_failures",
        "Changed templates of TEMPLATES_DIR that are invalid; the previous templates stay in use",
        registry=registry,
    )


def routes_reload_failures(registry: CollectorRegistry) -> Counter:
    return Counter(
        "cctelegram_routes_reload_failures",
        "Changed routing rules that are invalid; the previous rules stay in force",
        registry=registry,
    )
