"""Records the spans of a service in place of its exporter, and reads OTLP requests into spans of the SDK."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.kit.telemetry.span_queue import Write
from services.kit.telemetry.span_writer import SpanWriter


class SpanRecorder:
    """A ``SpanSink`` that records what it gets."""

    def __init__(self) -> None:
        self._writer = SpanWriter({}, "tests", "1")
        self._spans: list[ReadableSpan] = []
        self.closed = False

    def add(self, write: Write, count: int) -> None:
        write(self._writer)
        request, added = self._writer.take()
        read = decoded(request.SerializeToString())
        assert len(read) == added == count
        self._spans += read

    def flush(self, _seconds: float) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def get_finished_spans(self) -> tuple[ReadableSpan, ...]:
        return tuple(self._spans)


def decoded(body: bytes) -> list[ReadableSpan]:
    """The spans of an ExportTraceServiceRequest."""
    return [
        _readable(span, InstrumentationScope(group.scope.name, group.scope.version))
        for of in ExportTraceServiceRequest.FromString(body).resource_spans
        for group in of.scope_spans
        for span in group.spans
    ]


def _readable(span: trace_pb2.Span, scope: InstrumentationScope) -> ReadableSpan:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
        attributes=attributes_of(span.attributes),
        events=[
            Event(event.name, attributes_of(event.attributes), event.time_unix_nano) for event in span.events
        ],
        links=[Link(_context(link.trace_id, link.span_id)) for link in span.links],
        kind=SpanKind(span.kind - 1),
        status=Status(StatusCode.ERROR, span.status.message) if failed else Status(),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def _context(trace_id: bytes, span_id: bytes) -> SpanContext:
    return SpanContext(
        int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=False, trace_flags=TraceFlags(1)
    )


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(one) for one in value.array_value.values)
    return getattr(value, kind)
