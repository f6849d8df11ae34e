"""Spans in the bytes of OTLP, from values that are at hand: no object is made for a span.

The SDK builds several objects a span on its way to the same bytes, at many times the cost
(docs/performance.md). What is the same in every span (names, kinds, keys) is encoded once.
Tags are those of opentelemetry/proto/trace/v1/trace.proto; the order of the fields is free.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct

from opentelemetry.trace import SpanKind

from services.kit.telemetry.spans import Attributes, Event, FinishedSpan, TraceContext, Value

#: Name and version of an instrumentation.
Scope = tuple[str, str]

#: The last of a span's body: its start follows, in nanoseconds since the epoch.
START = b"\x39"
#: Stands between the start and the end.
END = b"\x41"
_TIMES = Struct("<QcQ")
_DOUBLE = Struct("<d")
_SAMPLED = b"\x85\x01\x01\x00\x00\x00"


class Key:
    """The name of an attribute."""

    __slots__ = ("_key", "_numbers", "_texts")

    def __init__(self, name: str) -> None:
        self._key = _field(b"\x0a", _utf8(name))
        #: What stands before a value of so many bytes: ids, names and numbers have few lengths.
        self._texts: dict[int, bytes] = {}
        self._numbers: dict[int, bytes] = {}

    def text(self, value: str) -> bytes:
        """The attribute with a short text as its value."""
        content = value.encode("utf-8", "replace")
        return (self._texts.get(len(content)) or self._before(self._texts, value, content)) + content

    def number(self, value: int) -> bytes:
        """The attribute with a whole number as its value."""
        content = _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        return (self._numbers.get(len(content)) or self._before(self._numbers, value, content)) + content

    def _before(self, known: dict[int, bytes], value: Value, content: bytes) -> bytes:
        whole = self.attribute(value)
        before = known[len(content)] = whole[: len(whole) - len(content)]
        return before

    def attribute(self, value: Value, tag: bytes = b"\x4a") -> bytes:
        """The attribute; the tag says of what."""
        return _field(tag, self._key + _field(b"\x12", _value(value)))


class Shape:
    """A kind of span.

    Args:
        name: of such spans.
        kind: which side of a call they are.
        beginning: how their ids begin, where those of several kinds have the other bytes in common.
    """

    __slots__ = ("_fixed",)

    def __init__(self, name: str, kind: SpanKind = SpanKind.INTERNAL, beginning: bytes = b"") -> None:
        said = _field(b"\x2a", _utf8(name))
        # The id comes last: a place goes on with it.
        self._fixed = b"%b\x30%c%b\x12\x08%b" % (said, kind.value + 1, _SAMPLED, beginning)

    def head(self, size: int) -> bytes:
        """What stands before a span whose body and times have so many bytes."""
        return _head(b"\x12", len(self._fixed) + size) + self._fixed

    def encode(self, place: bytes, start: float, end: float, rest: bytes) -> bytes:
        """One span.

        Args:
            place: its trace, its parent and its id, as :func:`place` made them.
            start: seconds since the epoch.
            end: no earlier than the start, or it is put there.
            rest: attributes, links, status.
        """
        body = place + rest + START
        begin, over = int(start * 1e9), int(end * 1e9)
        times = _TIMES.pack(begin, END, max(over, begin))
        return self.head(len(body) + len(times)) + body + times


class Row:
    """Spans that are always told together, as one struct: for each its head, body, start, ``END`` and end.

    Args:
        spans: the shape of each, and how many bytes its body has: a place, attributes, and ``START``.
    """

    __slots__ = ("heads", "pack")

    def __init__(self, *spans: tuple[Shape, int]) -> None:
        self.heads = [shape.head(size + _TIMES.size) for shape, size in spans]
        form = [f"{len(head)}s{size}sQcQ" for head, (_, size) in zip(self.heads, spans, strict=True)]
        self.pack = Struct("<" + "".join(form)).pack


def place(trace_id: int, parent_id: int | None, span_id: bytes) -> bytes:
    """Where a span belongs: the beginning of its body.

    Args:
        trace_id: its trace.
        parent_id: the span that it is within; None: the root.
        span_id: eight bytes, not all zero; without those that are its shape's.
    """
    if parent_id is None:
        return b"%b\x0a\x10%b" % (span_id, trace_id.to_bytes(16))
    return b"%b\x0a\x10%b\x22\x08%b" % (span_id, trace_id.to_bytes(16), parent_id.to_bytes(8))


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
        place(
            span.context.trace_id,
            span.parent.span_id if span.parent else None,
            span.context.span_id.to_bytes(8),
        ),
        span.start,
        span.end,
        b"".join(rest),
    )


def resource(values: Attributes) -> bytes:
    """Who tells, as :func:`request` wants it."""
    return _field(b"\x0a", attributes(values, b"\x0a"))


def request(of: bytes, told: Iterable[tuple[Scope, Sequence[bytes]]]) -> bytes:
    """An ExportTraceServiceRequest. It is large, and joined only once.

    Args:
        of: the :func:`resource`.
        told: encoded spans by their scope.
    """
    scopes: list[bytes] = []
    for scope, spans in told:
        named = _scope(*scope)
        scopes += _head(b"\x12", len(named) + sum(map(len, spans))), named, *spans
    return b"".join([_head(b"\x0a", len(of) + sum(map(len, scopes))), of, *scopes])


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
    return _head(tag, len(content)) + content


def _head(tag: bytes, size: int) -> bytes:
    return tag + _varint(size)


def _varint(number: int) -> bytes:
    if number < 1 << 7:
        return b"%c" % number
    if number < 1 << 14:
        return b"%c%c" % (number & 0x7F | 0x80, number >> 7)
    if number < 1 << 21:
        return b"%c%c%c" % (number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14)
    return b"%c%b" % (number & 0x7F | 0x80, _varint(number >> 7))


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
