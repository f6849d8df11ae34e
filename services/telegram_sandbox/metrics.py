"""The sandbox's metrics; every series exists from the start."""

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("ok", "refused", "flood", "fault")


class SandboxMetrics:
    """Bot API calls, lost answers, pending updates and webhook posts."""

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
            "Answers whose client disconnected first",
            registry=registry,
        )
        self.pending_updates = Gauge(
            "telegram_sandbox_pending_updates",
            "Updates that are not confirmed by their bot",
            registry=registry,
        )
        self.webhook_posts = Counter(
            "telegram_sandbox_webhook_posts",
            "Posts of updates to webhooks, by outcome",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("ok", "refused", "failed"):
            self.webhook_posts.labels(outcome)

    def count(self, method: str, outcome: str) -> None:
        self._calls[method, outcome].inc()
