import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry, TraceContext
from tests.span_recorder import SpanRecorder

contexts = st.builds(
    TraceContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
)
#: https://www.w3.org/TR/trace-context/#traceparent-header
SHAPE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@given(contexts)
def test_a_header_is_read_as_it_was_written(context: TraceContext) -> None:
    assert SHAPE.fullmatch(context.header())
    assert TraceContext.parse(context.header()) == context


@given(contexts)
def test_a_child_is_another_span_of_the_same_trace(context: TraceContext) -> None:
    child = context.child()
    assert (child.trace_id, child.sampled) == (context.trace_id, context.sampled)
    assert child.span_id != context.span_id
    assert child.span_id != 0


@given(st.text() | st.from_regex(SHAPE) | st.from_regex(r"\A[0-9A-Fa-fx_+ -]{55}\Z"))
@example("00-0x" + "1" * 30 + "-" + "1" * 16 + "-01")
@example("00-" + "1" * 32 + "-" + "1_1_1_1_1_1_1_11" + "-01")
@example("00-" + "A" * 32 + "-" + "1" * 16 + "-01")
@example("zz-" + "1" * 32 + "-" + "1" * 16 + "-01")
def test_only_what_the_standard_allows_is_taken(header: str) -> None:
    if TraceContext.parse(header) is not None:
        assert SHAPE.fullmatch(header)
        assert not header.startswith("ff")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-01-more",
        "00-" + "1" * 31 + "-" + "1" * 16 + "-01",
    ],
)
def test_what_names_no_span_is_left_alone(header: str | None) -> None:
    assert TraceContext.parse(header) is None


def test_a_later_version_may_say_more() -> None:
    context = TraceContext.parse("01-" + "1" * 32 + "-" + "2" * 16 + "-01-more")
    assert context is not None
    assert context.header() == "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


def test_only_the_lowest_flag_means_sampled() -> None:
    base = "00-" + "1" * 32 + "-" + "2" * 16
    sampled = [flag for flag in range(256) if TraceContext.parse(f"{base}-{flag:02x}").sampled]  # type: ignore[union-attr] # each parses
    assert sampled == list(range(1, 256, 2))


@given(st.floats(0, 1))
def test_a_new_trace_is_sampled_as_every_other_service_would_decide(ratio: float) -> None:
    telemetry = Telemetry("kit-test", ServiceSettings(otel_traces_sampler_arg=ratio))
    context = telemetry.new_trace()
    decision = TraceIdRatioBased(ratio).should_sample(Context(), context.trace_id, "accept").decision
    assert context.sampled == (decision is Decision.RECORD_AND_SAMPLE)


def test_a_ratio_of_one_keeps_every_trace_and_of_none_keeps_no_trace() -> None:
    every = Telemetry("kit-test", ServiceSettings(otel_traces_sampler_arg=1))
    none = Telemetry("kit-test", ServiceSettings(otel_traces_sampler_arg=0))
    assert all(every.new_trace().sampled for _ in range(100))
    assert not any(none.new_trace().sampled for _ in range(100))


def test_a_span_is_exported_with_its_stored_times() -> None:
    memory = SpanRecorder()
    telemetry = Telemetry("kit-test", ServiceSettings(), memory)
    root, other = telemetry.new_trace(), telemetry.new_trace()
    child = root.child()
    telemetry.export_if_sampled(
        FinishedSpan(
            "send",
            child,
            root,
            1_767_225_600.25,
            1_767_225_600.75,
            {"n": 1},
            SpanKind.CLIENT,
            "refused",
            [other],
        )
    )
    telemetry.close()
    (span,) = memory.get_finished_spans()
    assert span.name == "send"
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id) == (root.trace_id, child.span_id)
    assert span.parent is not None
    assert span.parent.span_id == root.span_id
    # A float of seconds since the epoch is good for a quarter of a microsecond.
    assert span.start_time == pytest.approx(1_767_225_600_250_000_000, abs=250, rel=0)
    assert span.end_time == pytest.approx(1_767_225_600_750_000_000, abs=250, rel=0)
    assert span.kind is SpanKind.CLIENT
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "refused")
    assert [link.context.trace_id for link in span.links] == [other.trace_id]
    assert telemetry.resource.attributes["service.name"] == "kit-test"


def test_a_span_never_ends_before_it_began() -> None:
    memory = SpanRecorder()
    telemetry = Telemetry("kit-test", ServiceSettings(), memory)
    telemetry.export_if_sampled(FinishedSpan("pace", telemetry.new_trace(), None, 20.0, 10.0))
    telemetry.close()
    (span,) = memory.get_finished_spans()
    assert span.start_time == span.end_time
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None


def test_a_trace_that_is_not_sampled_leaves_no_span() -> None:
    memory = SpanRecorder()
    telemetry = Telemetry("kit-test", ServiceSettings(otel_traces_sampler_arg=0), memory)
    telemetry.export_if_sampled(FinishedSpan("accept", telemetry.new_trace(), None, 1.0, 2.0))
    with telemetry.tracer.start_as_current_span("work"):
        pass
    telemetry.close()
    assert memory.get_finished_spans() == ()


def test_two_services_of_a_process_share_neither_registry_nor_tracer() -> None:
    one, two = Telemetry("one", ServiceSettings()), Telemetry("two", ServiceSettings())
    one.count_call("telegram", "/getMe", "200", 0.1)
    labels = {"provider": "telegram", "endpoint": "/getMe", "status_code": "200"}
    assert one.registry.get_sample_value("external_api_calls_total", labels) == 1
    assert two.registry.get_sample_value("external_api_calls_total", labels) is None
    assert one.tracer_provider is not two.tracer_provider


def test_without_a_receiver_spans_leave_nowhere() -> None:
    telemetry = Telemetry("kit-test", ServiceSettings())
    assert not telemetry.exports_spans
    telemetry.export_if_sampled(FinishedSpan("accept", telemetry.new_trace(), None, 1.0, 2.0))
    telemetry.close()


def test_the_process_is_measured() -> None:
    telemetry = Telemetry("kit-test", ServiceSettings())
    assert telemetry.memory_bytes() > 1_000_000
    assert telemetry.uptime() > 0
    resident = telemetry.registry.get_sample_value("process_resident_memory_bytes")
    assert resident is not None
    assert resident > 1_000_000
