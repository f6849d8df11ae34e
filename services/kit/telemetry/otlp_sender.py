"""Sends encoded spans to an OTLP/HTTP receiver, in batches, by a thread of its own.

As the protocol wants it: what a busy receiver refuses is sent again, when it says or ever later;
what it never takes is let go and counted, for spans must not become a queue without end.
"""

import gzip
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Protocol

import httpx
import structlog
from prometheus_client import CollectorRegistry, Counter

from services.kit.settings import ServiceSettings, otlp_headers
from services.kit.telemetry import otlp_encoder
from services.kit.telemetry.otlp_encoder import Scope

log = structlog.get_logger()

LARGEST_QUEUE_BYTES = 16_000_000
#: Collectors take 20 MB; some of their neighbours take 4.
LARGEST_BODY_BYTES = 2_000_000
SEND_EVERY_SECONDS = 2.0
#: So many spans are written together, in less than a millisecond. The first of them costs five times as
#: much as the others: by then the processor has forgotten the code that writes them.
MANY = 512
GIVE_UP_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 30.0
#: That the protocol calls retryable.
BUSY = frozenset({429, 502, 503, 504})


class Lost(StrEnum):
    """Why spans were let go."""

    QUEUE_FULL = "queue_full"
    NOT_WRITTEN = "not_written"  #: a fault of ours
    REFUSED = "refused"  #: the receiver answered that it never takes them
    NOT_TAKEN = "not_taken"  #: the receiver was away or busy for too long


class SpanCounts:
    """What became of the spans of a service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("trace_spans_sent", "Spans accepted by the OTLP receiver", registry=registry)
        self.lost = Counter(
            "trace_spans_lost",
            "Spans lost before the OTLP receiver accepted them, by reason",
            ["reason"],
            registry=registry,
        )
        for reason in Lost:
            self.lost.labels(reason.value)


class SpanSink(Protocol):
    """Where encoded spans go."""

    def add(self, scope: Scope, spans: bytes, count: int) -> None: ...
    def add_later(self, scope: Scope, write: Callable[[], bytes], count: int) -> None: ...
    def flush(self, seconds: float) -> bool: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver, as the standard's variables describe it.

    Args:
        url: that is posted to.
        headers: of every request; they may hold a key.
        timeout: seconds for a request.
        compress: with gzip.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    compress: bool = False

    @classmethod
    def of(cls, settings: ServiceSettings) -> "Destination | None":
        """None where no receiver is set. A variable for traces goes before the one for all signals."""
        url, everything = settings.otel_exporter_otlp_traces_endpoint, settings.otel_exporter_otlp_endpoint
        if url is None and everything is None:
            return None
        headers = settings.otel_exporter_otlp_traces_headers or settings.otel_exporter_otlp_headers
        timeout = settings.otel_exporter_otlp_traces_timeout or settings.otel_exporter_otlp_timeout
        compression = (
            settings.otel_exporter_otlp_traces_compression or settings.otel_exporter_otlp_compression
        )
        return cls(
            url or f"{str(everything).rstrip('/')}/v1/traces",
            otlp_headers(headers.get_secret_value()) if headers else {},
            timeout / 1000,
            compression == "gzip",
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    body: bytes
    count: int


class SpanSender:
    """Takes spans at once, and sends them soon.

    Args:
        to: the receiver.
        resource: who tells, as :func:`services.kit.telemetry.otlp_encoder.resource` encodes it.
        counts: what became of them.
    """

    def __init__(self, to: Destination, resource: bytes, counts: SpanCounts) -> None:
        self._to = to
        self._resource = resource
        self._counts = counts
        self._waiting: deque[tuple[Scope, bytes, int]] = deque()
        self._waiting_bytes = 0
        self._unwritten: list[tuple[Scope, Callable[[], bytes], int]] = []
        self._unwritten_count = 0
        #: The receiver wants no request before this, of the monotonic clock.
        self._closed_until = 0.0
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        #: Set once everything has left that waited when they were put here.
        self._flushes: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def add(self, scope: Scope, spans: bytes, count: int) -> None:
        """Never waits.

        Args:
            scope: the instrumentation.
            spans: encoded, one behind the other.
            count: how many they are.
        """
        with self._lock:
            waiting = self._waiting_bytes + len(spans)
            fits = waiting <= LARGEST_QUEUE_BYTES
            if fits:
                self._waiting.append((scope, spans, count))
                self._waiting_bytes = waiting
        if not fits:
            self._lose(Lost.QUEUE_FULL, count)
        elif waiting >= LARGEST_BODY_BYTES and not self._wanted.is_set():
            self._wanted.set()

    def add_later(self, scope: Scope, write: Callable[[], bytes], count: int) -> None:
        """As :meth:`add`, of spans that are written once they are many, or are sent.

        Args:
            scope: the instrumentation.
            write: answers with them, in any thread.
            count: how many they are.
        """
        with self._lock:
            self._unwritten.append((scope, write, count))
            self._unwritten_count += count
            many = self._unwritten_count >= MANY
        if many:
            self._write()

    def _write(self) -> None:
        with self._lock:
            unwritten, self._unwritten, self._unwritten_count = self._unwritten, [], 0
        for scope, write, count in unwritten:
            try:
                spans = write()
            except Exception:
                log.exception("spans_not_written")
                self._lose(Lost.NOT_WRITTEN, count)
            else:
                self.add(scope, spans, count)

    def flush(self, seconds: float) -> bool:
        """Sends what waits now; answers whether that was over within so many seconds."""
        over = threading.Event()
        with self._lock:
            self._flushes.append(over)
        self._wanted.set()
        return over.wait(seconds)

    def close(self) -> None:
        """Sends what waits, if the receiver takes it, and ends."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        headers = self._to.headers | {"Content-Type": "application/x-protobuf"}
        headers |= {"Content-Encoding": "gzip"} if self._to.compress else {}
        with httpx.Client(headers=headers, timeout=self._to.timeout) as client:
            while not self._closing.is_set():
                self._wanted.wait(SEND_EVERY_SECONDS)
                self._wanted.clear()
                self._empty(client)
            self._empty(client)

    def _empty(self, client: httpx.Client) -> None:
        with self._lock:
            flushes, self._flushes = self._flushes, []
        self._write()
        while (batch := self._next()) is not None:
            self._deliver(client, batch)
        for over in flushes:
            over.set()

    def _next(self) -> _Batch | None:
        told: dict[Scope, list[bytes]] = {}
        size = total = 0
        with self._lock:
            while self._waiting and (not size or size + len(self._waiting[0][1]) <= LARGEST_BODY_BYTES):
                scope, spans, count = self._waiting.popleft()
                told.setdefault(scope, []).append(spans)
                size += len(spans)
                total += count
            self._waiting_bytes -= size
        if not told:
            return None
        body = otlp_encoder.request(self._resource, told.items())
        # The fastest level: the text repeats itself so much that more effort finds little more.
        return _Batch(gzip.compress(body, compresslevel=1) if self._to.compress else body, total)

    def _deliver(self, client: httpx.Client, batch: _Batch) -> None:
        """Until it is taken or refused, or for as long as anybody may wait."""
        until = time.monotonic() + GIVE_UP_SECONDS
        tries = 0
        while True:
            self._closing.wait(max(0.0, self._closed_until - time.monotonic()))
            pause = self._post(client, batch)
            if pause is None:
                return
            tries += 1
            pause = pause or min(2.0**tries, LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - spreads retries
            self._closed_until = time.monotonic() + pause
            # At the end there is one try for each, and none once one failed.
            if self._closing.is_set() or self._closed_until > until:
                break
        self._lose(Lost.NOT_TAKEN, batch.count)
        if self._closing.is_set():
            self._lose(Lost.NOT_TAKEN, self._forget())

    def _post(self, client: httpx.Client, batch: _Batch) -> float | None:
        """None where that was the end of it; else how long to wait, 0 where the receiver did not say."""
        try:
            response = client.post(self._to.url, content=batch.body)
        except httpx.HTTPError as failed:
            log.debug("spans_not_sent", error=type(failed).__name__)
            return 0.0
        if response.status_code in BUSY:
            return _retry_after(response.headers.get("retry-after", ""))
        if not response.is_success:
            log.warning("spans_refused", status=response.status_code)
            self._lose(Lost.REFUSED, batch.count)
            return None
        refused = min(otlp_encoder.rejected(response.content), batch.count)
        self._counts.sent.inc(batch.count - refused)
        self._lose(Lost.REFUSED, refused)
        return None

    def _forget(self) -> int:
        with self._lock:
            count = sum(count for _, _, count in self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
        return count

    def _lose(self, reason: Lost, count: int) -> None:
        if count:
            self._counts.lost.labels(reason.value).inc(count)
            if reason is not Lost.QUEUE_FULL:  # counted only: it comes in floods
                log.warning("spans_lost", reason=reason.value, count=count)


def _retry_after(header: str) -> float:
    """Seconds, of the two ways to say it; 0 where it says nothing."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
