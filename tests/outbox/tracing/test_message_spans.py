"""The spans of a message as a receiver reads them, whatever its texts and its times are."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan

from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Decision, MessageState, Outcome, Reason, Settled
from services.outbox.tracing import message_spans
from tests.outbox.making import ADA, GRACE, NOW, TRACE, claimed, event, message, result
from tests.span_recorder import SpanRecorder

_TIME = st.floats(NOW - 100, NOW + 100)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
_RESULTS = st.sampled_from(
    [
        (result(Outcome.SENT, message_id=2**40), MessageState.DELIVERED),
        (result(Outcome.SENT), MessageState.QUEUED),
        (
            result(Outcome.NOT_SENT, Reason.FLOOD_CONTROL, retry_after=3.5, detail="x" * 300),
            MessageState.RETRY_WAIT,
        ),
    ]
)


def recording() -> tuple[Telemetry, SpanRecorder]:
    sink = SpanRecorder()
    return Telemetry("tests", ServiceSettings(), sink), sink


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


@given(times=st.tuples(*[_TIME] * 5), correlation=_TEXT, answer=_RESULTS, number=st.integers(1, 300))
def test_an_attempt_has_four_spans_and_none_ends_before_it_begins(
    times: tuple[float, ...], correlation: str, answer: tuple[Any, MessageState], number: int
) -> None:
    telemetry, sink = recording()
    accepted_at, claimed_at, limited, sent_at, settled_at = times
    found = claimed(
        accepted_at=accepted_at,
        claimed_at=claimed_at,
        limiter_wait=abs(limited - NOW),
        correlation_id=correlation,
        attempt=number,
    )
    came_to, state = answer
    settled = Settled(found, came_to, Decision(state))
    message_spans.export_attempts(telemetry, [settled, settled], max(settled_at, sent_at))
    spans = sink.get_finished_spans()
    assert [span.name for span in spans] == ["queue", "pace", "send", "settle"] * 2
    assert len({span.context.span_id for span in spans if span.context}) == 8
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
        assert span.parent is not None
        assert span.parent.span_id == TRACE.span_id
        assert attributes(span)["cctelegram.message_id"] == found.id
        assert attributes(span)["cctelegram.attempt"] == number
    queue, pace, send, settle = spans[:4]
    assert queue.start_time == int(accepted_at * 1e9)
    assert (queue.end_time, send.end_time) == (pace.start_time, settle.start_time)
    assert attributes(send)["cctelegram.correlation_id"] == correlation
    assert attributes(send)["cctelegram.state"] == state.value
    assert attributes(send).get("cctelegram.telegram_message_id") == came_to.message_id
    assert attributes(send).get("cctelegram.retry_after_seconds") == came_to.retry_after
    assert bool(send.status.description) is (came_to.outcome is not Outcome.SENT)


def test_the_events_of_a_commit_are_exported_each_under_its_own_trace() -> None:
    telemetry, sink = recording()
    client = TRACE.child()
    one = event(parent=client, correlation_id="run-1")
    two = event(trace=telemetry.new_trace())
    alone, both = [message(ADA)], [message(ADA), message(GRACE)]
    unsampled = event(trace=type(TRACE)(5, 6, sampled=False))
    message_spans.export_accepted(telemetry, [(one, alone), (unsampled, alone), (two, both)], NOW + 0.25)
    spans = sink.get_finished_spans()
    assert [span.name for span in spans] == ["accept", "enqueue"] * 2
    first, enqueue, second, _ = spans
    assert first.parent is not None
    assert first.context is not None
    assert enqueue.parent is not None
    assert (first.parent.span_id, second.parent) == (client.span_id, None)
    assert enqueue.parent.span_id == first.context.span_id == TRACE.span_id
    assert {(span.start_time, span.end_time) for span in spans} == {(int(NOW * 1e9), int((NOW + 0.25) * 1e9))}
    assert attributes(first)["cctelegram.message_id"] == alone[0].id
    assert "messaging.batch.message_count" not in attributes(first)
    assert attributes(second)["messaging.batch.message_count"] == 2
    assert "cctelegram.message_id" not in attributes(second)
