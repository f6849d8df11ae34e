"""Spans as lines of JSON on standard output (``OTEL_TRACES_EXPORTER=console``)."""

import sys
from collections.abc import Iterable
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.kit.telemetry.exporter import ExportResult


class ConsoleExporter:
    """Writes each span as one line."""

    def send(self, request: ExportTraceServiceRequest) -> ExportResult:
        for group in request.resource_spans:
            service = _plain(group.resource.attributes).get("service.name", "")
            for scope in group.scope_spans:
                for span in scope.spans:
                    line = {"service": service} | _fields(span)
                    sys.stdout.write(orjson.dumps(line).decode() + "\n")
        sys.stdout.flush()
        return ExportResult()

    def stop_retries(self) -> None: ...
    def shutdown(self) -> None: ...


def _fields(span: Span) -> dict[str, Any]:
    """Ids in hexadecimal, as logs and Jaeger show them; the duration in milliseconds."""
    fields = {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "start": span.start_time_unix_nano / 1e9,
        "duration_ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
        "attributes": _plain(span.attributes),
    }
    return fields | ({"error": span.status.message} if span.status.code == Status.STATUS_CODE_ERROR else {})


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
