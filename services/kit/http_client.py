"""HTTP clients with metrics and traces for their calls; requests of the suite to itself are marked."""

import ssl
import time
from dataclasses import dataclass, field
from functools import cache

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import Span

from services.kit.telemetry.sdk_processor import INTERNAL
from services.kit.telemetry.telemetry import Telemetry

#: Headers of a request that the suite makes of itself: the sending service, and the secret that proves it.
INTERNAL_HEADER = "X-CCTelegram-Internal"
INTERNAL_KEY_HEADER = "X-CCTelegram-Internal-Key"


@dataclass(frozen=True, slots=True)
class InternalMark:
    """The mark of a request that the suite makes of itself.

    Args:
        service: name of the sending service.
        key: the suite's internal secret.
    """

    service: str
    key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {INTERNAL_HEADER: self.service, INTERNAL_KEY_HEADER: self.key}


def client(
    telemetry: Telemetry,
    provider: str,
    base_url: str,
    *,
    timeout: float = 5.0,
    key: str | None = None,
    internal: InternalMark | None = None,
) -> httpx.AsyncClient:
    """A client of another program. Its calls are counted, traced, and carry the trace context.

    Args:
        telemetry: the calling service's.
        provider: the other program, a metric label, such as ``alertmanager``.
        base_url: what the paths of calls are relative to.
        timeout: seconds for each phase of a call.
        key: bearer key; None: none is sent.
        internal: marks all calls as the suite's own, and their spans; only for clients of its services, since
            the mark has a secret. None: the calls are somebody's.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= internal.headers if internal else {}
    made = httpx.AsyncClient(
        base_url=base_url, timeout=timeout, headers=headers, transport=_CountedTransport(telemetry, provider)
    )
    HTTPXClientInstrumentor.instrument_client(
        made,
        tracer_provider=telemetry.tracer_provider,
        meter_provider=NoOpMeterProvider(),
        request_hook=_mark_span if internal else None,
    )
    return made


async def _mark_span(span: Span, _request: object) -> None:
    span.set_attribute(INTERNAL, True)


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
