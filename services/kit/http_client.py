"""HTTP clients with metrics and traces for their calls."""

import ssl
import time
from functools import cache

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider

from services.kit.telemetry.telemetry import Telemetry


def client(
    telemetry: Telemetry, provider: str, base_url: str, *, timeout: float = 5.0, key: str | None = None
) -> httpx.AsyncClient:
    """A client of another program. Its calls are counted, traced, and carry the trace context.

    Args:
        telemetry: the calling service's.
        provider: the other program, a metric label, such as ``alertmanager``.
        base_url: what the paths of calls are relative to.
        timeout: seconds for each phase of a call.
        key: bearer key; None: none is sent.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    made = httpx.AsyncClient(
        base_url=base_url, timeout=timeout, headers=headers, transport=_CountedTransport(telemetry, provider)
    )
    HTTPXClientInstrumentor.instrument_client(
        made, tracer_provider=telemetry.tracer_provider, meter_provider=NoOpMeterProvider()
    )
    return made


@cache
def _trusted() -> ssl.SSLContext:
    """The trusted certificates, read once for all clients."""
    return httpx.create_ssl_context()


class _CountedTransport(httpx.AsyncHTTPTransport):
    def __init__(self, telemetry: Telemetry, provider: str) -> None:
        super().__init__(
            verify=_trusted(), limits=httpx.Limits(max_connections=8, max_keepalive_connections=8)
        )
        self._telemetry = telemetry
        self._provider = provider

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # A caller names the endpoint of a path that contains an id, so that the label has few values.
        endpoint = str(request.extensions.get("endpoint", request.url.path))
        start = time.perf_counter()
        status = "none"
        try:
            response = await super().handle_async_request(request)
            status = str(response.status_code)
        finally:
            self._telemetry.count_call(self._provider, endpoint, status, time.perf_counter() - start)
        return response
