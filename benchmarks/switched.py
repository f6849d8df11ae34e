"""A bridge whose telemetry is switched part by part while it runs, for benchmarks.telemetry.

``POST /switch/{parts}`` switches on the named parts, joined by a plus, and all others off; it answers after
the spans so far have been exported. One process serves both sides of a comparison: two processes with the
same code differ by some percent, because their memory is laid out differently.

metrics: metrics count; off: their methods do nothing.
logs: logs at INFO; off: at ERROR.
spans: spans are made; off: as without a receiver.
export: spans are sent; off: requests are dropped where they would be sent.
"""

import asyncio

from fastapi import FastAPI, Request
from prometheus_client import Counter, Gauge, Histogram

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.bridge.state import state_of
from services.kit import logs, runner
from services.kit.telemetry.exporter import ExportResult
from services.kit.telemetry.otlp_http import HttpExporter
from services.kit.telemetry.telemetry import Telemetry


def _nothing(*_: object, **__: object) -> None: ...


def _accepted(*_: object) -> ExportResult:
    return ExportResult()


#: What replaces an attribute of a class while a part is off.
OFF: dict[str, dict[tuple[type, str], object]] = {
    "metrics": {
        (Counter, "inc"): _nothing,
        (Histogram, "observe"): _nothing,
        (Gauge, "inc"): _nothing,
        (Gauge, "dec"): _nothing,
        (Gauge, "set"): _nothing,
    },
    "spans": {(Telemetry, "exports_spans"): property(lambda _: False)},
    "export": {(HttpExporter, "send"): _accepted},
}
ON = {(kind, name): vars(kind)[name] for replaced in OFF.values() for kind, name in replaced}


def switchable(settings: BridgeSettings) -> FastAPI:
    app = create_app(settings)

    @app.post("/switch/{parts}")
    async def switch(parts: str, request: Request) -> bool:
        on = parts.split("+")
        for part, replaced in OFF.items():
            for (kind, name), nothing in replaced.items():
                setattr(kind, name, ON[kind, name] if part in on else nothing)
        logs.configure("INFO" if "logs" in on else "ERROR")
        telemetry = (await state_of(request)).telemetry
        return await asyncio.to_thread(telemetry.tracer_provider.force_flush, 30_000)

    return app


if __name__ == "__main__":
    switchable.__module__ = create_app.__module__  # the runner reads the service's name from it
    runner.main(switchable, BridgeSettings)
