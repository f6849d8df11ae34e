"""Metrics of the dashboard's WebSocket."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Counts of connected pages, of updates sent to them and of failures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "websocket_connections_total", "Dashboard pages connected now", registry=registry
        )
        self.messages = Counter("websocket_messages", "Updates sent to dashboard pages", registry=registry)
        self.errors = Counter(
            "websocket_errors",
            "Dashboard pages disconnected because they read too slowly or the connection failed",
            registry=registry,
        )
