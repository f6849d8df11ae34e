"""Spans told after the fact, as OTLP over HTTP: encoded and sent in batches, by a thread of their own.

The SDK builds several objects a span on its way to the same bytes, at many times the cost
(docs/performance.md). Only what :class:`FinishedSpan` can say is encoded here.
"""

import struct
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from functools import lru_cache

import httpx
import structlog

from services.kit.spans import Attributes, FinishedSpan

log = structlog.get_logger()

LARGEST_QUEUE = 20_000
LARGEST_BATCH = 1_000
SEND_EVERY_SECONDS = 2.0
TRIES = 3
TIMEOUT_SECONDS = 5.0

# Tags of opentelemetry/proto/trace/v1/trace.proto, as protobuf writes them.
_TIMES = struct.Struct("<cQcQ")
_DOUBLE = struct.Struct("<d")
_FLAGS = b"\x85\x01\x01\x01\x00\x00"  # sampled, and the parent is known not to be remote
_ERROR = b"\x18\x02"


def encode(span: FinishedSpan, attributes: bytes) -> bytes:
    """One span, with its attributes as :func:`encode_attributes` made them."""
    context, parent = span.context, span.parent
    start = int(span.start * 1e9)
    status = _field(b"\x7a", _field(b"\x12", _utf8(span.error)) + _ERROR) if span.error else b""
    links = b"".join(
        _field(b"\x6a", b"\x0a\x10%b\x12\x08%b" % (link.trace_id.to_bytes(16), link.span_id.to_bytes(8)))
        for link in span.links
    )
    return b"".join(
        (
            b"\x0a\x10",
            context.trace_id.to_bytes(16),
            b"\x12\x08",
            context.span_id.to_bytes(8),
            b"\x22\x08" + parent.span_id.to_bytes(8) if parent else b"",
            _name_and_kind(span.name, span.kind.value),
            _TIMES.pack(b"\x39", start, b"\x41", max(int(span.end * 1e9), start)),
            attributes,
            links,
            status,
            _FLAGS,
        )
    )


def encode_attributes(attributes: Attributes, tag: bytes = b"\x4a") -> bytes:
    return b"".join(_field(tag, _key(name) + _field(b"\x12", _value(v))) for name, v in attributes.items())


def encode_request(resource: Attributes, scope: tuple[str, str], spans: Iterable[FinishedSpan]) -> bytes:
    """An ExportTraceServiceRequest.

    Args:
        resource: attributes of who tells.
        scope: name and version of the instrumentation.
        spans: of any traces.
    """
    told = []
    known: Attributes = {}
    encoded = b""
    for span in spans:
        # The spans of one attempt share their attributes.
        if span.attributes is not known:
            known, encoded = span.attributes, encode_attributes(span.attributes)
        told.append(_field(b"\x12", encode(span, encoded)))
    named = _field(b"\x0a", _field(b"\x0a", _utf8(scope[0])) + _field(b"\x12", _utf8(scope[1])))
    of = _field(b"\x0a", encode_attributes(resource, b"\x0a"))
    return _field(b"\x0a", of + _field(b"\x12", named + b"".join(told)))


def _field(tag: bytes, content: bytes) -> bytes:
    size = len(content)
    return b"%b%c%b" % (tag, size, content) if size < 0x80 else tag + _varint(size) + content  # noqa: PLR2004 - seven bits


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _value(value: str | float) -> bytes:
    if isinstance(value, str):
        return _field(b"\x0a", _utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return b"\x21" + _DOUBLE.pack(value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@lru_cache(256)
def _key(name: str) -> bytes:
    return _field(b"\x0a", name.encode())


@lru_cache(64)
def _name_and_kind(name: str, kind: int) -> bytes:
    return _field(b"\x2a", name.encode()) + bytes((0x30, kind + 1))


class SpanSender:
    """Takes spans at once, and sends them soon.

    Args:
        endpoint: of the receiver, e.g. ``http://jaeger:4318``.
        resource: attributes of the service.
        scope: name and version of the instrumentation.
    """

    def __init__(self, endpoint: str, resource: Mapping[str, str], scope: tuple[str, str]) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._resource = dict(resource)
        self._scope = scope
        self._waiting: deque[FinishedSpan] = deque()
        self._lost = 0
        self._wanted = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def add(self, span: FinishedSpan) -> None:
        if len(self._waiting) >= LARGEST_QUEUE:
            self._lost += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= LARGEST_BATCH and not self._wanted.is_set():
            self._wanted.set()

    def close(self) -> None:
        """Sends what waits, and ends."""
        self._closed = True
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        with httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS) as client:
            while not self._closed or self._waiting:
                self._wanted.wait(SEND_EVERY_SECONDS)
                self._wanted.clear()
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(LARGEST_BATCH, len(self._waiting)))]
                    self._send(client, batch)
                if self._lost:
                    log.warning("spans_lost", count=self._lost)
                    self._lost = 0

    def _send(self, client: httpx.Client, batch: list[FinishedSpan]) -> None:
        body = encode_request(self._resource, self._scope, batch)
        for number in range(1 if self._closed else TRIES):
            if number and self._closed:
                break
            try:
                client.post(self._url, content=body).raise_for_status()
            except httpx.HTTPError as error:
                log.debug("spans_not_sent", error=str(error))
                self._wanted.wait(2.0**number)
            else:
                return
        self._lost += len(batch)
