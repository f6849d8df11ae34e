"""The bridge's own metrics; the engine's are in services.outbox.metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from services.kit.telemetry import Telemetry


class BridgeMetrics:
    def __init__(self, telemetry: Telemetry, connections: Callable[[], int]) -> None:
        registry: CollectorRegistry = telemetry.registry
        memory = Gauge("cctelegram_memory_usage_bytes", "Resident memory", registry=registry)
        memory.set_function(telemetry.memory_bytes)
        active = Gauge("cctelegram_active_connections", "Open client connections", registry=registry)
        active.set_function(connections)
