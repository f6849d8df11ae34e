"""Spans as values: the trace context of a span, and spans made from stored times."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import getrandbits

from opentelemetry.trace import SpanKind

Value = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float] | Sequence[bool]
Attributes = Mapping[str, Value]
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def new_trace_id() -> int:
    return getrandbits(128) | 1


def new_span_id() -> int:
    return getrandbits(64) | 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A W3C ``traceparent``: which trace something belongs to, and under which span."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def parse(cls, header: str | None) -> "TraceContext | None":
        """None for a header that is missing or no traceparent; later versions may have more fields."""
        found = _TRACEPARENT.fullmatch(header or "")
        if found is None or (found[1] == "00" and found[5]):
            return None
        trace_id, span_id, flags = int(found[2], 16), int(found[3], 16), int(found[4], 16)
        return cls(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None

    def child(self) -> "TraceContext":
        return TraceContext(self.trace_id, new_span_id(), self.sampled)

    def header(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


@dataclass(frozen=True, slots=True)
class FinishedSpan:
    """A span that has ended.

    Args:
        name: of the span.
        context: its own ids.
        parent: the span around it; None for the root of its trace.
        start: seconds since the epoch.
        end: seconds since the epoch.
        attributes: of the span.
        kind: which side of a call it is.
        error: what failed; empty for a span that succeeded.
        links: spans that it refers to.
    """

    name: str
    context: TraceContext
    parent: TraceContext | None
    start: float
    end: float
    attributes: Attributes = field(default_factory=dict)
    kind: SpanKind = SpanKind.INTERNAL
    error: str = ""
    links: Sequence[TraceContext] = ()
