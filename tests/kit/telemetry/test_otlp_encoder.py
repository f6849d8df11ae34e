"""What we write as OTLP, read by the protobuf that its makers generate."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import SpanKind

from services.kit.telemetry import otlp_encoder
from services.kit.telemetry.otlp_encoder import Key, Row, Shape
from services.kit.telemetry.spans import Event, FinishedSpan, TraceContext, seven_bytes
from tests.told import attributes_of

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
    events=st.lists(st.builds(Event, name=_TEXT, at=st.floats(0, 4e9), attributes=_ATTRIBUTES), max_size=2),
)


def read(*spans: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(otlp_encoder.request(b"", [(("", ""), spans)]))
    return list(request.resource_spans[0].scope_spans[0].spans)


@given(_SPANS)
def test_protobuf_reads_what_was_written(span: FinishedSpan) -> None:
    (found,) = read(otlp_encoder.encode(span))
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
    for event, told in zip(found.events, span.events, strict=True):
        assert (event.name, event.time_unix_nano) == (told.name, int(told.at * 1e9))
        same_values(attributes_of(event.attributes), told.attributes)


def same_values(found: dict[str, Any], told: Any) -> None:
    assert found == told
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in told.items()
    }


@given(name=_TEXT.filter(bool), value=_TEXT)
def test_a_text_is_encoded_alike_on_the_short_way_and_on_the_long_one(name: str, value: str) -> None:
    assert Key(name).text(value) == Key(name).attribute(value) == otlp_encoder.attributes({name: value})


@given(name=_TEXT.filter(bool), value=st.integers(-(2**63), 2**63 - 1))
def test_so_is_a_number(name: str, value: int) -> None:
    assert Key(name).number(value) == Key(name).attribute(value)


@given(st.integers(0, 100_000))
def test_attributes_of_any_length_stand_in_their_span(size: int) -> None:
    rest = Key("a").text("x" * size)
    spans = read(*[Shape("send").encode(otlp_encoder.place(1, 2, b"\1" * 8), 1.0, 2.0, rest)] * 2)
    assert [attributes_of(span.attributes) for span in spans] == [{"a": "x" * size}] * 2


@given(st.lists(st.tuples(st.sampled_from(["queue", "send"]), _TEXT, st.integers(0, 2**62)), min_size=1))
def test_a_row_is_read_as_its_spans(told: list[tuple[str, str, int]]) -> None:
    shapes = {"queue": Shape("queue", beginning=b"\2"), "send": Shape("send", SpanKind.CLIENT, b"\3")}
    below = otlp_encoder.place(TRACE.trace_id, TRACE.span_id, b"\7" * 7)
    bodies = [below + Key("a").text(text) + otlp_encoder.START for _, text, _ in told]
    row = Row(*((shapes[name], len(body)) for (name, _, _), body in zip(told, bodies, strict=True)))
    written: list[bytes | int] = []
    for head, body, (_, _, at) in zip(row.heads, bodies, told, strict=True):
        written += head, body, at, otlp_encoder.END, at + 1
    found = read(row.pack(*written))
    assert [
        (one.name, attributes_of(one.attributes)["a"], one.start_time_unix_nano, one.end_time_unix_nano)
        for one in found
    ] == [(name, text, at, at + 1) for name, text, at in told]
    for one in found:
        assert (one.trace_id, one.parent_span_id) == (TRACE.trace_id.to_bytes(16), TRACE.span_id.to_bytes(8))
        assert one.span_id == {"queue": b"\2", "send": b"\3"}[one.name] + b"\7" * 7
        assert (one.kind, one.flags) == ({"queue": 1, "send": 3}[one.name], 1)


def test_a_request_names_who_tells_and_keeps_the_instrumentations_apart() -> None:
    one, two = (
        Shape(name).encode(otlp_encoder.place(1, None, b"\1" * 8), 1.0, 2.0, b"") for name in ("one", "two")
    )
    told = [(("ours", "1"), [one, two]), (("theirs", ""), [two])]
    body = otlp_encoder.request(otlp_encoder.resource({"service.name": "bridge"}), told)
    (of,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert attributes_of(of.resource.attributes) == {"service.name": "bridge"}
    assert [
        (each.scope.name, each.scope.version, [span.name for span in each.spans]) for each in of.scope_spans
    ] == [("ours", "1", ["one", "two"]), ("theirs", "", ["two"])]


def test_half_of_a_surrogate_pair_does_not_cost_the_others_their_trace() -> None:
    (found,) = read(otlp_encoder.encode(FinishedSpan("x", TRACE, None, 1.0, 2.0, {"a": "\ud800!"})))
    assert attributes_of(found.attributes) == {"a": "?!"}


def test_seven_bytes_and_one_more_are_an_id() -> None:
    assert len(seven_bytes()) == 7
    assert len({seven_bytes() for _ in range(1_000)}) == 1_000


@given(st.integers(0, 2**63 - 1), st.text(max_size=300))
def test_what_a_receiver_did_not_keep_is_understood(count: int, said: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=said)
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    assert otlp_encoder.rejected(answer) == count


@pytest.mark.parametrize("answer", [b"", b"{}", b"\x0a", b"\x0a\x02\x08", b"\x0a\xff\xff\xff", b"<html>"])
def test_an_answer_that_is_none_says_nothing(answer: bytes) -> None:
    assert otlp_encoder.rejected(answer) == 0
