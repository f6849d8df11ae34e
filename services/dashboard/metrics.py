"""What the dashboard counts of its own WebSocket."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge("websocket_connections_total", "Pages that are connected", registry=registry)
        self.messages = Counter("websocket_messages", "Updates sent to pages", registry=registry)
        self.errors = Counter(
            "websocket_errors", "Pages dropped: too slow, or the connection broke", registry=registry
        )
