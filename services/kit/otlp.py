"""Spans in the bytes of OTLP, from values that are at hand: no object is made for a span.

The SDK builds several objects a span on its way to the same bytes, at many times the cost
(docs/performance.md). What is the same in every span (names, kinds, keys) is encoded once.
Tags are those of opentelemetry/proto/trace/v1/trace.proto; the order of the fields is free.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from opentelemetry.trace import SpanKind

from services.kit.spans import Attributes, Event, FinishedSpan, TraceContext, Value

#: Name and version of an instrumentation.
Scope = tuple[str, str]

_TIMES = struct.Struct("<cQcQ")
_DOUBLE = struct.Struct("<d")
_SAMPLED = b"\x85\x01\x01\x00\x00\x00"


class Key:
    """The name of an attribute."""

    __slots__ = ("_key", "_size")

    def __init__(self, name: str) -> None:
        self._key = _field(b"\x0a", _utf8(name))
        self._size = len(self._key) + 4

    def text(self, value: str) -> bytes:
        """The attribute with a text as its value."""
        content = value.encode("utf-8", "replace")
        size = len(content)
        if size + self._size < 0x80:  # noqa: PLR2004 - seven bits
            return b"\x4a%c%b\x12%c\x0a%c%b" % (size + self._size, self._key, size + 2, size, content)
        return self.attribute(value)

    def number(self, value: int) -> bytes:
        """The attribute with a whole number as its value."""
        content = _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        size = len(content) + 1
        if size + self._size < 0x80:  # noqa: PLR2004 - seven bits
            return b"\x4a%c%b\x12%c\x18%b" % (size + self._size - 2, self._key, size, content)
        return self.attribute(value)

    def attribute(self, value: Value, tag: bytes = b"\x4a") -> bytes:
        """The attribute; the tag says of what."""
        return _field(tag, self._key + _field(b"\x12", _value(value)))


class Shape:
    """A kind of span: its name, and which side of a call it is."""

    __slots__ = ("_fixed",)

    def __init__(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> None:
        self._fixed = b"%b\x30%c%b" % (_field(b"\x2a", _utf8(name)), kind.value + 1, _SAMPLED)

    def encode(self, place: bytes, span_id: bytes, start: float, end: float, rest: bytes) -> bytes:
        """One span.

        Args:
            place: its trace and its parent, as :func:`place` made them.
            span_id: eight bytes, not all zero.
            start: seconds since the epoch.
            end: no earlier than the start, or it is put there.
            rest: attributes, links, status.
        """
        begin = int(start * 1e9)
        times = _TIMES.pack(b"\x39", begin, b"\x41", max(int(end * 1e9), begin))
        return _field(b"\x12", b"%b\x12\x08%b%b%b%b" % (place, span_id, self._fixed, times, rest))


def place(trace_id: int, parent_id: int | None) -> bytes:
    """Where a span belongs."""
    trace = b"\x0a\x10" + trace_id.to_bytes(16)
    return trace if parent_id is None else b"%b\x22\x08%b" % (trace, parent_id.to_bytes(8))


def error(said: str) -> bytes:
    """The status of a span that failed."""
    return _field(b"\x7a", _field(b"\x12", _utf8(said)) + b"\x18\x02")


def attributes(values: Mapping[str, Value], tag: bytes = b"\x4a") -> bytes:
    return b"".join(_key(name).attribute(value, tag) for name, value in values.items())


def encode(span: FinishedSpan) -> bytes:
    """Any span, less fast."""
    rest = (
        attributes(span.attributes),
        *map(_event, span.events),
        *map(_link, span.links),
        error(span.error) if span.error else b"",
    )
    return _shape(span.name, span.kind).encode(
        place(span.context.trace_id, span.parent.span_id if span.parent else None),
        span.context.span_id.to_bytes(8),
        span.start,
        span.end,
        b"".join(rest),
    )


def resource(values: Attributes) -> bytes:
    """Who tells, as :func:`request` wants it."""
    return _field(b"\x0a", attributes(values, b"\x0a"))


def request(of: bytes, told: Iterable[tuple[Scope, Sequence[bytes]]]) -> bytes:
    """An ExportTraceServiceRequest.

    Args:
        of: the :func:`resource`.
        told: encoded spans by their scope.
    """
    scopes = (_field(b"\x12", _scope(*scope) + b"".join(spans)) for scope, spans in told)
    return _field(b"\x0a", of + b"".join(scopes))


def rejected(response: bytes) -> int:
    """How many spans an ExportTraceServiceResponse says were not kept (``partial_success``)."""
    if not response.startswith(b"\x0a"):
        return 0
    _, begin = _read_varint(response, 1)
    if response[begin : begin + 1] != b"\x08":
        return 0
    return _read_varint(response, begin + 1)[0]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where it is over."""
    number = shift = 0
    for offset, byte in enumerate(data[at : at + 10], at + 1):
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - seven bits
            return number, offset
    return 0, len(data)


def _event(event: Event) -> bytes:
    at = b"\x09" + int(event.at * 1e9).to_bytes(8, "little")
    return _field(b"\x5a", at + _field(b"\x12", _utf8(event.name)) + attributes(event.attributes, b"\x1a"))


def _link(link: TraceContext) -> bytes:
    return _field(b"\x6a", b"\x0a\x10%b\x12\x08%b" % (link.trace_id.to_bytes(16), link.span_id.to_bytes(8)))


def _field(tag: bytes, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - seven bits
        return b"%b%c%b" % (tag, size, content)
    if size < 0x4000:  # noqa: PLR2004 - twice seven bits
        return b"%b%c%c%b" % (tag, size & 0x7F | 0x80, size >> 7, content)
    return tag + _varint(size) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _field(b"\x0a", _utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + _DOUBLE.pack(value)
    return _field(b"\x2a", b"".join(_field(b"\x0a", _value(one)) for one in value))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@lru_cache(256)
def _key(name: str) -> Key:
    return Key(name)


@lru_cache(256)
def _shape(name: str, kind: SpanKind) -> Shape:
    return Shape(name, kind)


@lru_cache(64)
def _scope(name: str, version: str) -> bytes:
    return _field(b"\x0a", _field(b"\x0a", _utf8(name)) + _field(b"\x12", _utf8(version)))
