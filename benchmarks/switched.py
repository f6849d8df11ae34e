"""The bridge whose telemetry is switched part by part while it runs, for benchmarks.telemetry.

One process, so that nothing else differs: two that run the same code cost some percent more or less than
each other, for their memory lies elsewhere. ``POST /switch/{parts}`` puts on the parts that stand there,
joined by a plus, and takes off all others; it answers when the spans of before are with their receiver.

counting: metrics count; without it they do nothing.
logging: logs at INFO; without it at ERROR.
telling: spans are made; without it as where no receiver is set.
sending: they are sent; without it the requests are dropped where they would be sent.
"""

import asyncio

from fastapi import FastAPI, Request
from prometheus_client import Gauge

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit import logs, runner
from services.kit.telemetry.exporter import ExportResult
from services.kit.telemetry.meters import Count, Distribution
from services.kit.telemetry.otlp_http import HttpExporter
from services.kit.telemetry.telemetry import Telemetry


def _nothing(*_: object, **__: object) -> None: ...


def _taken(*_: object) -> ExportResult:
    return ExportResult()


#: What stands in for a part that is off: of which class, under which name.
OFF: dict[str, dict[tuple[type, str], object]] = {
    "counting": {
        (Count, "inc"): _nothing,
        (Distribution, "observe"): _nothing,
        (Distribution, "observe_all"): _nothing,
        (Gauge, "inc"): _nothing,
        (Gauge, "dec"): _nothing,
        (Gauge, "set"): _nothing,
    },
    "telling": {(Telemetry, "exports_spans"): property(lambda _: False)},
    "sending": {(HttpExporter, "send"): _taken},
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
        logs.configure("INFO" if "logging" in on else "ERROR")
        telemetry: Telemetry = request.state.telemetry
        return await asyncio.to_thread(telemetry.tracer_provider.force_flush, 30_000)

    return app


if __name__ == "__main__":
    switchable.__module__ = create_app.__module__  # whose name the runner reads from it
    runner.main(switchable, BridgeSettings)
