"""Metrics of the sandbox; every series exists from the start."""

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("ok", "refused", "flood", "fault")


class SandboxMetrics:
    """Counts of Bot API calls, lost responses, pending updates and webhook calls.

    Args:
        registry: of the service.
        methods: the Bot API methods that the sandbox knows.
    """

    def __init__(self, registry: CollectorRegistry, methods: tuple[str, ...]) -> None:
        calls = Counter(
            "telegram_sandbox_calls",
            "Bot API calls, by method and outcome",
            ["method", "outcome"],
            registry=registry,
        )
        self._calls = {
            (method, outcome): calls.labels(method, outcome)
            for method in (*methods, "unknown")
            for outcome in OUTCOMES
        }
        self.lost_answers = Counter(
            "telegram_sandbox_lost_answers",
            "Responses that were lost because the client had disconnected",
            registry=registry,
        )
        self.pending_updates = Gauge(
            "telegram_sandbox_pending_updates", "Updates that no bot has fetched yet", registry=registry
        )
        self.webhook_posts = Counter(
            "telegram_sandbox_webhook_posts",
            "Updates posted to webhooks of bots, by outcome",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("ok", "refused", "failed"):
            self.webhook_posts.labels(outcome)

    def count(self, method: str, outcome: str) -> None:
        self._calls[method, outcome].inc()
