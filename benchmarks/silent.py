"""The bridge with parts of its telemetry off, for benchmarks.telemetry.

What the settings can switch is switched there: spans leave only where a receiver is set, and logs have
their level. What they cannot is made to do nothing here, by the names that stand on the command line:

metrics: nothing is counted.
sending: spans are made, and thrown away where they would be put into a request.
"""

import sys

from prometheus_client import Gauge

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit import runner
from services.kit.meters import Count, Distribution
from services.kit.span_sender import SpanSender


def _nothing(*_: object, **__: object) -> None: ...


PARTS = {
    "metrics": ((Count, "inc"), (Distribution, "observe"), (Gauge, "inc"), (Gauge, "dec"), (Gauge, "set")),
    "sending": ((SpanSender, "add"),),
}

if __name__ == "__main__":
    for part in sys.argv[1:]:
        for kind, method in PARTS[part]:
            setattr(kind, method, _nothing)
    runner.main(create_app, BridgeSettings)
