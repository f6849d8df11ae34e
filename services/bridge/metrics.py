"""The bridge's own metrics; the engine's are in services.outbox.metrics."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.kit.telemetry.telemetry import Telemetry


class BridgeMetrics:
    def __init__(self, telemetry: Telemetry, connections: Callable[[], int]) -> None:
        registry: CollectorRegistry = telemetry.registry
        memory = Gauge("cctelegram_memory_usage_bytes", "Resident memory", registry=registry)
        memory.set_function(telemetry.memory_bytes)
        active = Gauge("cctelegram_active_connections", "Open client connections", registry=registry)
        active.set_function(connections)


class CostMetrics:
    """What sending costs; a bot that pays for nothing costs nothing.

    Args:
        registry: of the service.
        bots: the names of all of them.
    """

    def __init__(self, registry: CollectorRegistry, bots: Iterable[str]) -> None:
        self.cost = Counter(
            "message_cost", "Telegram Stars that paid broadcasting was billed", ["bot"], registry=registry
        )
        for bot in bots:
            self.cost.labels(bot)
