"""The spans of the OpenTelemetry SDK and its instrumentations, on the same way out as our own."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanContext, StatusCode

from services.kit.telemetry import otlp_encoder
from services.kit.telemetry.otlp_sender import SpanSink
from services.kit.telemetry.spans import Attributes, Event, FinishedSpan, TraceContext


class Forwarding(SpanProcessor):
    """Hands each sampled span on when it ends."""

    def __init__(self, sink: SpanSink) -> None:
        self._sink = sink

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        scope = span.instrumentation_scope
        named = (scope.name, scope.version or "") if scope else ("", "")
        self._sink.add(named, otlp_encoder.encode(_finished(span, span.context)), 1)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._sink.flush(timeout_millis / 1000)


def _finished(span: ReadableSpan, context: SpanContext) -> FinishedSpan:
    failed = span.status.status_code is StatusCode.ERROR
    return FinishedSpan(
        span.name,
        _place(context),
        _place(span.parent) if span.parent else None,
        (span.start_time or 0) / 1e9,
        (span.end_time or 0) / 1e9,
        _plain(span.attributes),
        span.kind,
        (span.status.description or "error") if failed else "",
        [_place(link.context) for link in span.links],
        [Event(event.name, event.timestamp / 1e9, _plain(event.attributes)) for event in span.events],
    )


def _place(context: SpanContext) -> TraceContext:
    return TraceContext(context.trace_id, context.span_id, context.trace_flags.sampled)


def _plain(attributes: Mapping[str, Any] | None) -> Attributes:
    """Without bytes and mappings, which the instrumentations do not use."""
    kept = (str, bool, int, float, tuple, list)
    return {name: value for name, value in (attributes or {}).items() if isinstance(value, kept)}
