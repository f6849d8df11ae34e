"""What the keys count; every series there from the start."""

from prometheus_client import CollectorRegistry, Counter

SIGNED_OUTCOMES = ("accepted", "refused", "replayed")


class SignedRequests:
    """Requests with a signature, by what became of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "cctelegram_signed_requests", "Requests with a signature", ["outcome"], registry=registry
        )
        for outcome in SIGNED_OUTCOMES:
            self._counter.labels(outcome)

    def count(self, outcome: str) -> None:
        self._counter.labels(outcome).inc()
