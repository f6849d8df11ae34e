"""The requests that the writer builds, read again after they were serialised."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from services.kit.telemetry.span_writer import SpanWriter
from services.kit.telemetry.spans import FinishedSpan, TraceContext
from tests.span_recorder import attributes_of

TRACE = TraceContext(0xABC << 64 | 7, 11, sampled=True)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_VALUES = st.one_of(
    _TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(_TEXT, max_size=3).map(tuple),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple),
)
_ATTRIBUTES = st.dictionaries(_TEXT.filter(bool), _VALUES, max_size=6)
_SPANS = st.builds(
    FinishedSpan,
    name=_TEXT.filter(bool),
    context=st.just(TRACE.child()),
    parent=st.sampled_from([TRACE, None]),
    start=st.floats(0, 4e9),
    end=st.floats(0, 4e9),
    attributes=_ATTRIBUTES,
    kind=st.sampled_from(SpanKind),
    error=_TEXT,
    links=st.sampled_from([(), (TRACE,)]),
)


@pytest.fixture
def writer() -> SpanWriter:
    return SpanWriter({"service.name": "bridge"}, "ours", "1")


def taken(writer: SpanWriter) -> list[ResourceSpans]:
    request, _ = writer.take()
    return list(ExportTraceServiceRequest.FromString(request.SerializeToString()).resource_spans)


def spans(writer: SpanWriter) -> list[Span]:
    ((scope,),) = [group.scope_spans for group in taken(writer)]
    return list(scope.spans)


@given(_SPANS)
def test_a_span_is_read_as_it_was_added(span: FinishedSpan) -> None:
    writer = SpanWriter({}, "ours", "1")
    writer.add_finished(span)
    (found,) = spans(writer)
    assert found.name == span.name
    assert found.trace_id == span.context.trace_id.to_bytes(16)
    assert found.span_id == span.context.span_id.to_bytes(8)
    assert found.parent_span_id == (span.parent.span_id.to_bytes(8) if span.parent else b"")
    assert found.kind == span.kind.value + 1
    assert found.flags == 1
    assert found.start_time_unix_nano == int(span.start * 1e9)
    assert found.end_time_unix_nano == int(max(span.end, span.start) * 1e9)
    same_values(attributes_of(found.attributes), span.attributes)
    assert (found.status.code, found.status.message) == ((2, span.error) if span.error else (0, ""))
    assert [(link.trace_id, link.span_id) for link in found.links] == [
        (link.trace_id.to_bytes(16), link.span_id.to_bytes(8)) for link in span.links
    ]


def same_values(found: dict[str, Any], expected: Any) -> None:
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in expected.items()
    }


@given(st.lists(st.fixed_dictionaries({"a": _VALUES, "b": _VALUES}), min_size=2, max_size=5))
def test_spans_with_the_same_keys_have_only_their_own_values(values: list[dict[str, Any]]) -> None:
    """They are copies of one template, whatever the types of the values are."""
    writer = SpanWriter({}, "ours", "1")
    for number, attributes in enumerate(values):
        error = "failed" if number % 2 else ""
        writer.add("queue", attributes, TRACE, number, number + 1, error=error)
    found = spans(writer)
    for number, (span, attributes) in enumerate(zip(found, values, strict=True)):
        same_values(attributes_of(span.attributes), attributes)
        assert span.start_time_unix_nano == number * 10**9
        assert span.status.message == ("failed" if number % 2 else "")
        assert (span.trace_id, span.parent_span_id) == (
            TRACE.trace_id.to_bytes(16),
            TRACE.span_id.to_bytes(8),
        )
    assert len({span.span_id for span in found}) == len(values)


def test_a_request_names_the_service_and_the_instrumentation(writer: SpanWriter) -> None:
    writer.add("one", {}, TRACE, 1.0, 2.0)
    writer.add("two", {}, TRACE, 1.0, 2.0)
    assert writer.count == 2
    (group,) = taken(writer)
    assert attributes_of(group.resource.attributes) == {"service.name": "bridge"}
    (scope,) = group.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("ours", "1")
    assert [span.name for span in scope.spans] == ["one", "two"]


def test_what_was_taken_is_not_in_the_next_request(writer: SpanWriter) -> None:
    writer.add("one", {}, TRACE, 1.0, 2.0)
    writer.take()
    assert writer.count == 0
    writer.add("two", {}, TRACE, 1.0, 2.0)
    assert [span.name for span in spans(writer)] == ["two"]


@pytest.mark.parametrize("ours", [0, 1])
def test_spans_of_the_sdk_stand_beside_ours_with_their_own_scope(writer: SpanWriter, ours: int) -> None:
    theirs = TracerProvider(shutdown_on_exit=False).get_tracer("theirs").start_span("GET /")
    theirs.end()
    for _ in range(ours):
        writer.add("one", {}, TRACE, 1.0, 2.0)
    writer.add_encoded(encode_spans([theirs]), 1)  # type: ignore[list-item] # a span of the SDK is readable
    assert writer.count == 1 + ours
    found = [
        (scope.scope.name, span.name)
        for group in taken(writer)
        for scope in group.scope_spans
        for span in scope.spans
    ]
    assert found == [("ours", "one")] * ours + [("theirs", "GET /")]


def test_half_of_a_surrogate_pair_becomes_a_question_mark(writer: SpanWriter) -> None:
    attributes = {"a": "\ud800!", "b": ("\ud800",)}
    writer.add("x", attributes, TRACE, 1.0, 2.0, error="\ud800")
    (found,) = spans(writer)
    assert attributes_of(found.attributes) == {"a": "?!", "b": ("?",)}
    assert found.status.message == "?"
