"""Takes spans of the OpenTelemetry SDK and of its instrumentations to the service's span queue."""

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from services.kit.telemetry.span_queue import SpanSink

#: Attribute of a span of a request that the suite makes of itself.
INTERNAL = "cctelegram.internal"
#: Such a request is traced from this duration on.
SLOW_SECONDS = 1.0
_SERVER_ERROR = 500


class QueueSpanProcessor(SpanProcessor):
    """Queues each sampled span when it ends, but for those of the suite's quick requests to itself.

    Args:
        sink: the queue.
    """

    def __init__(self, sink: SpanSink) -> None:
        self._sink = sink

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled and not _is_routine(span):
            self._sink.add(lambda writer: writer.add_encoded(encode_spans([span]), 1), 1)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._sink.flush(timeout_millis / 1000)


def _is_routine(span: ReadableSpan) -> bool:
    """Whether the suite made a request of itself that was neither slow nor failed; a 4xx is an answer."""
    attributes = span.attributes or {}
    if INTERNAL not in attributes:
        return False
    status = attributes.get("http.status_code")
    failed = not isinstance(status, int) or status >= _SERVER_ERROR
    seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    return not failed and seconds < SLOW_SECONDS
