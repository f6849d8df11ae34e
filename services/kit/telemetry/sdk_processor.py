"""Takes spans of the OpenTelemetry SDK and of its instrumentations to the service's span queue."""

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from services.kit.telemetry.span_queue import SpanSink


class QueueSpanProcessor(SpanProcessor):
    """Queues each sampled span when it ends.

    Args:
        sink: the queue.
    """

    def __init__(self, sink: SpanSink) -> None:
        self._sink = sink

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._sink.add(lambda writer: writer.add_encoded(encode_spans([span]), 1), 1)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._sink.flush(timeout_millis / 1000)
