"""What every span exporter has: a destination, a way to send a request, and a result for each request.

``OTEL_TRACES_EXPORTER`` and ``OTEL_EXPORTER_OTLP_PROTOCOL`` choose `otlp_http`, `otlp_grpc` or `console`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.kit.settings import ServiceSettings, otlp_headers

GRPC_PORT, HTTP_PORT = 4317, 4318


class LossReason(StrEnum):
    """Why spans were not delivered; the label of ``trace_spans_lost``."""

    QUEUE_FULL = "queue_full"
    NOT_WRITTEN = "not_written"  #: building them failed: a fault in this code
    REFUSED = "refused"  #: the receiver answered that it will never take them
    NOT_TAKEN = "not_taken"  #: the receiver was away or busy for too long


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of one request.

    Args:
        lost: why the whole request was lost; None where the receiver took it.
        rejected: how many spans the receiver rejected of a request that it took.
        cause: status or error that lost the request, without anything from the request itself.
    """

    lost: LossReason | None = None
    rejected: int = 0
    cause: str = ""


class Exporter(Protocol):
    """Sends requests, one at a time."""

    def send(self, request: ExportTraceServiceRequest) -> ExportResult:
        """Sends a request; repeats it while the receiver is busy, up to the timeout."""

    def stop_retries(self) -> None:
        """From now on a request that fails is not repeated. Any thread may call this."""

    def shutdown(self) -> None:
        """Closes the connections."""


@dataclass(frozen=True, slots=True)
class Destination:
    """An OTLP receiver, as the standard's variables describe it.

    Args:
        url: of the receiver; for HTTP the whole URL for traces.
        headers: of every request; they may hold a key.
        timeout: seconds for a request with its repetitions.
        compress: with gzip.
        certificate: file with the certificates to trust for the receiver; None: the system's.
        protocol: of the requests.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    compress: bool = False
    certificate: Path | None = None
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"

    @classmethod
    def of(cls, settings: ServiceSettings) -> "Destination":
        """A variable for traces takes precedence over the one for all signals."""
        headers = settings.otel_exporter_otlp_traces_headers or settings.otel_exporter_otlp_headers
        timeout = settings.otel_exporter_otlp_traces_timeout or settings.otel_exporter_otlp_timeout
        compression = (
            settings.otel_exporter_otlp_traces_compression or settings.otel_exporter_otlp_compression
        )
        return cls(
            _url(settings),
            otlp_headers(headers.get_secret_value()) if headers else {},
            timeout / 1000,
            compression == "gzip",
            settings.otel_exporter_otlp_traces_certificate or settings.otel_exporter_otlp_certificate,
            _protocol(settings),
        )


def _protocol(settings: ServiceSettings) -> Literal["http/protobuf", "grpc"]:
    return settings.otel_exporter_otlp_traces_protocol or settings.otel_exporter_otlp_protocol


def _url(settings: ServiceSettings) -> str:
    if settings.otel_exporter_otlp_traces_endpoint is not None:
        return settings.otel_exporter_otlp_traces_endpoint
    grpc = _protocol(settings) == "grpc"
    default = f"http://localhost:{GRPC_PORT if grpc else HTTP_PORT}"
    endpoint = settings.otel_exporter_otlp_endpoint or default
    return endpoint if grpc else f"{endpoint.rstrip('/')}/v1/traces"


class RetryStop:
    """Stops the repetitions of an exporter: shuts it down once a try fails after :meth:`stop`.

    Args:
        shutdown: of the exporter.
    """

    def __init__(self, shutdown: Callable[[], None]) -> None:
        self._shutdown = shutdown
        self._stopping = self._failing = False

    def tried(self, *, failed: bool) -> None:
        """Notes how a try ended."""
        self._failing = failed
        self._check()

    def stop(self) -> None:
        """No try is repeated from now on; any thread may call this."""
        self._stopping = True
        self._check()

    def _check(self) -> None:
        if self._stopping and self._failing:
            self._shutdown()
