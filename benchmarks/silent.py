"""The bridge with all telemetry off, as the baseline of benchmarks.telemetry: it counts nothing either.

Spans and logs are off by the settings; metrics cannot be, so their methods are made to do nothing here.
"""

from prometheus_client import Counter, Gauge, Histogram

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit import runner


def _nothing(*_: object, **__: object) -> None: ...


if __name__ == "__main__":
    for kind, methods in ((Counter, ("inc",)), (Gauge, ("inc", "dec", "set")), (Histogram, ("observe",))):
        for method in methods:
            setattr(kind, method, _nothing)
    runner.main(create_app, BridgeSettings)
