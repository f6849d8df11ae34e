"""Counts of webhook calls, every series from the start."""

from prometheus_client import CollectorRegistry, Counter

from services.bridge.webhooks.store import State

KINDS = ("approval", "message")


class WebhookMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "cctelegram_webhook_calls",
            "Attempts to tell other programs of results",
            ["kind", "outcome"],
            registry=registry,
        )
        for kind in KINDS:
            for state in State:
                self.calls.labels(kind, state.value)
