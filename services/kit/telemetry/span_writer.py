"""Builds OTLP export requests from the protobuf messages of ``opentelemetry-proto``.

Each span is a copy of a template that has its name and its attribute keys: to set values and to copy costs
less than half of building a message (docs/decisions/0016-spans-by-the-official-exporter.md).
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.kit.telemetry.spans import Attributes, FinishedSpan, TraceContext, Value, new_span_id

SpanKind: TypeAlias = Span.SpanKind.ValueType
INTERNAL = Span.SPAN_KIND_INTERNAL
_SAMPLED = 1
#: A message that has a name and attribute keys, and where its values stand.
_Template: TypeAlias = tuple[Span, list[AnyValue]]


class SpanWriter:
    """Adds spans to a request until it is taken. Only one thread may use it at a time.

    Args:
        resource: attributes of the service, such as ``service.name``.
        scope: name of the instrumentation.
        version: of the instrumentation.
    """

    def __init__(self, resource: Mapping[str, Value], scope: str, version: str) -> None:
        self._resource = Resource(attributes=_key_values(resource))
        self._scope = InstrumentationScope(name=scope, version=version)
        #: By name and attribute keys. They come from the code, so there are few.
        self._templates: dict[tuple[str, ...], _Template] = {}
        self._begin()

    def _begin(self) -> None:
        self._request = ExportTraceServiceRequest()
        scopes = self._request.resource_spans.add(resource=self._resource).scope_spans
        self._spans = scopes.add(scope=self._scope).spans
        self.count = 0

    def take(self) -> tuple[ExportTraceServiceRequest, int]:
        """The request with all spans since the last call, and their number."""
        request, count = self._request, self.count
        if not self._spans:  # all are the SDK's
            del request.resource_spans[0]
        self._begin()
        return request, count

    def add(
        self,
        name: str,
        attributes: Attributes,
        parent: TraceContext | None,
        start: float,
        end: float,
        *,
        context: TraceContext | None = None,
        kind: SpanKind = INTERNAL,
        error: str = "",
        links: Sequence[TraceContext] = (),
    ) -> None:
        """Adds a span.

        Args:
            name: of the span.
            attributes: of the span.
            parent: the span around it; None for the root of a trace.
            start: seconds since the epoch.
            end: seconds since the epoch; where it is before the start, the span ends at its start.
            context: its own ids; None: a new id in the parent's trace.
            kind: which side of a call it is.
            error: what failed; empty for a span that succeeded.
            links: spans that it refers to.

        Raises:
            ValueError: it has neither a parent nor a context, or a value does not fit into a message.
        """
        key = name, *attributes
        span, slots = self._templates.get(key) or self._new_template(key)
        for slot, value in zip(slots, attributes.values()):  # noqa: B905 - as many as the keys; strict takes longer
            if isinstance(value, str):
                try:
                    slot.string_value = value
                except UnicodeEncodeError:
                    slot.string_value = _utf8(value)
            elif type(value) is int:  # and no bool
                slot.int_value = value
            else:
                slot.CopyFrom(_any_value(value))
        if context is not None:
            trace_id, span_id = context.trace_id, context.span_id
        elif parent is not None:
            trace_id, span_id = parent.trace_id, new_span_id()
        else:
            raise ValueError(f"span {name} has neither a parent nor a context")
        span.trace_id = trace_id.to_bytes(16)
        span.span_id = span_id.to_bytes(8)
        span.parent_span_id = parent.span_id.to_bytes(8) if parent is not None else b""
        span.kind = kind
        begin, over = int(start * 1e9), int(end * 1e9)
        span.start_time_unix_nano = begin
        span.end_time_unix_nano = over if over > begin else begin  # noqa: FURB136 - a call of max takes longer
        added = self._spans.add()
        added.CopyFrom(span)
        if error:
            added.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=_utf8(error)))
        if links:
            added.links.extend(map(_link, links))
        self.count += 1

    def _new_template(self, key: tuple[str, ...]) -> _Template:
        name, *keys = key
        span = Span(name=_utf8(name), flags=_SAMPLED)
        slots = [span.attributes.add(key=_utf8(one)).value for one in keys]
        self._templates[key] = span, slots
        return span, slots

    def add_finished(self, span: FinishedSpan) -> None:
        """Adds a span that is a value."""
        self.add(
            span.name,
            span.attributes,
            span.parent,
            span.start,
            span.end,
            context=span.context,
            kind=Span.SpanKind.Value(f"SPAN_KIND_{span.kind.name}"),
            error=span.error,
            links=span.links,
        )

    def add_encoded(self, request: ExportTraceServiceRequest, count: int) -> None:
        """Adds spans that the OpenTelemetry SDK encoded, with the resource and the scope that they have."""
        self._request.MergeFrom(request)
        self.count += count


def _key_values(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]


def _any_value(value: Value) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=_utf8(value))
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[_any_value(one) for one in value]))


def _link(context: TraceContext) -> Span.Link:
    return Span.Link(trace_id=context.trace_id.to_bytes(16), span_id=context.span_id.to_bytes(8))


def _utf8(text: str) -> str:
    """The text with a question mark for half of a surrogate pair, which protobuf refuses."""
    return text.encode("utf-8", "replace").decode()
