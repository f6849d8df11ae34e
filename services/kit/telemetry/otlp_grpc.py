"""OTLP over gRPC by the official exporter, which compresses, connects and repeats (``RetryInfo``)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc
from opentelemetry.exporter.otlp.proto.grpc.exporter import OTLPExporterMixin
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from services.kit.telemetry.exporter import Destination, ExportResult, LossReason, RetryStop

#: The codes that OTLP calls retryable.
BUSY = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class GrpcExporter(
    OTLPExporterMixin[Sequence[ReadableSpan], ExportTraceServiceRequest, SpanExportResult, TraceServiceStub]
):
    """Calls the trace service of a receiver.

    Args:
        to: the receiver.
    """

    def __init__(self, to: Destination) -> None:
        self._sent = ExportResult()
        self._retries = RetryStop(self.shutdown)
        plain = urlsplit(to.url).scheme == "http"
        super().__init__(
            stub=partial(_Stub, self._call),  # type: ignore[arg-type] # the library makes the stub of a channel
            result=SpanExportResult,  # type: ignore[arg-type] # the library takes the class
            endpoint=to.url,
            insecure=plain,
            credentials=None if plain else _credentials(to),
            headers={name.lower(): value for name, value in to.headers.items()},
            timeout=to.timeout,
            compression=grpc.Compression.Gzip if to.compress else grpc.Compression.NoCompression,
            retryable_error_codes=BUSY,
        )

    def send(self, request: ExportTraceServiceRequest) -> ExportResult:
        self._sent = ExportResult(LossReason.NOT_TAKEN, cause="shut down")
        # The public exporter takes spans of the SDK and encodes them in `_translate_data`.
        self._export(request)
        return self._sent

    def stop_retries(self) -> None:
        self._retries.stop()

    def _call(
        self, export: Callable[..., ExportTraceServiceResponse], **call: Any
    ) -> ExportTraceServiceResponse:
        """One try."""
        busy = False
        try:
            response = export(**call)
        except grpc.RpcError as error:
            busy = error.code() in BUSY
            lost = LossReason.NOT_TAKEN if busy else LossReason.REFUSED
            self._sent = ExportResult(lost, cause=error.code().name)
            raise
        finally:
            self._retries.tried(failed=busy)
        self._sent = ExportResult(rejected=response.partial_success.rejected_spans)
        return response

    def _translate_data(self, data: Any) -> ExportTraceServiceRequest:
        return data  # type: ignore[no-any-return] # see `send`

    def _count_data(self, data: Any) -> int:  # noqa: ARG002 - only for metrics of the library, which are off
        return 0

    @property
    def _exporting(self) -> str:
        return "traces"


class _Stub(TraceServiceStub):
    """Hands each call to ``call``, to see how it ends."""

    def __init__(self, call: Callable[..., ExportTraceServiceResponse], channel: grpc.Channel) -> None:
        super().__init__(channel)  # type: ignore[no-untyped-call] # generated without types
        self.Export = partial(call, self.Export)


def _credentials(to: Destination) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(to.certificate.read_bytes() if to.certificate else None)
