"""A bounded queue of spans, and the thread that exports them in batches.

Spans that the exporter cannot deliver are dropped and counted, so memory stays bounded.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry, Counter

from services.kit.telemetry.exporter import Exporter, ExportResult, LossReason
from services.kit.telemetry.span_writer import SpanWriter

log = structlog.get_logger()

#: The spans of 10,000 messages, in some 50 MB of memory.
LARGEST_QUEUE = 60_000
#: About 1 MB: many gRPC receivers take no more than 4 MB.
LARGEST_BATCH = 4_000
EXPORT_EVERY_SECONDS = 2.0
#: What is left of the queue after that long at shutdown is lost.
CLOSE_SECONDS = 5.0

#: Adds spans to a request.
Write = Callable[[SpanWriter], None]


class SpanCounts:
    """Counters of exported and lost spans."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("trace_spans_sent", "Spans accepted by the OTLP receiver", registry=registry)
        self.lost = Counter("trace_spans_lost", "Spans that were dropped", ["reason"], registry=registry)
        for reason in LossReason:
            self.lost.labels(reason.value)


class SpanSink(Protocol):
    """A destination of spans."""

    def add(self, write: Write, count: int) -> None: ...
    def flush(self, seconds: float) -> bool: ...
    def close(self) -> None: ...


class SpanQueue:
    """Batches spans into OTLP requests; a thread exports them every 2 s, or as soon as 4,000 are queued.

    Args:
        exporter: sends the requests to the receiver.
        writer: builds the requests.
        counts: counters of exported and lost spans.
    """

    def __init__(self, exporter: Exporter, writer: SpanWriter, counts: SpanCounts) -> None:
        self._exporter = exporter
        self._writer = writer
        self._counts = counts
        self._full: deque[tuple[ExportTraceServiceRequest, int]] = deque()
        #: Spans in the writer, in full requests and in the request that is being sent.
        self._queued = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._flushes: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def add(self, write: Write, count: int) -> None:
        """Queues spans. If the queue is full, drops them and counts them. Never waits for the receiver.

        Args:
            write: adds the spans to the writer; called before this returns, and not if the queue is full.
                Its exceptions are logged.
            count: number of spans that ``write`` adds.
        """
        with self._lock:
            if self._queued + count > LARGEST_QUEUE:
                self._lose(LossReason.QUEUE_FULL, count)
                return
            before = self._writer.count
            try:
                write(self._writer)
            except Exception:
                log.exception("spans_not_written")
                self._lose(LossReason.NOT_WRITTEN, count - (self._writer.count - before))
            self._queued += self._writer.count - before
            full = self._writer.count >= LARGEST_BATCH
            if full:
                self._full.append(self._writer.take())
        if full:
            self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Tries to export all queued spans; returns whether the attempt ended in time. Spans may be lost."""
        flushed = threading.Event()
        with self._lock:
            self._flushes.append(flushed)
        self._wake.set()
        return flushed.wait(seconds)

    def close(self) -> None:
        """Tries to export the queued spans for up to :data:`CLOSE_SECONDS`, and counts the rest as lost."""
        self._closing.set()
        self._exporter.stop_retries()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        self._exporter.shutdown()
        with self._lock:
            left, self._queued = self._queued, 0
        self._lose(LossReason.NOT_TAKEN, left, "shutdown")

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(EXPORT_EVERY_SECONDS)
            self._wake.clear()
            self._export_queued()
        self._export_queued()

    def _export_queued(self) -> None:
        with self._lock:
            flushes, self._flushes = self._flushes, []
            if self._writer.count:
                self._full.append(self._writer.take())
            batches, self._full = self._full, deque()
        for request, count in batches:
            if not self._export(request, count) and self._closing.is_set():
                break
        for flushed in flushes:
            flushed.set()

    def _export(self, request: ExportTraceServiceRequest, count: int) -> bool:
        """Exports one request; returns whether the receiver took it."""
        try:
            result = self._exporter.send(request)
        except Exception as error:  # noqa: BLE001 - the thread must go on
            # Only its type: the texts of the libraries repeat headers.
            result = ExportResult(LossReason.NOT_WRITTEN, cause=type(error).__name__)
        with self._lock:
            if not self._queued:  # close() counted them as lost
                return False
            self._queued -= count
        if result.lost is not None:
            self._lose(result.lost, count, result.cause)
            return False
        rejected = min(max(0, result.rejected), count)
        self._counts.sent.inc(count - rejected)
        self._lose(LossReason.REFUSED, rejected, "partial success")
        return True

    def _lose(self, reason: LossReason, count: int, cause: str = "") -> None:
        if count:
            self._counts.lost.labels(reason.value).inc(count)
            if reason is not LossReason.QUEUE_FULL:  # counted only: it comes in floods
                log.warning("spans_lost", reason=reason.value, count=count, cause=cause)
