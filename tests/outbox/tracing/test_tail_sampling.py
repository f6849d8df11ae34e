"""Traces that are not sampled: those of slow and failed messages are exported whole, no others are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from services.kit.database.connect import Database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry, TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, Outcome, Reason, Result, Settled
from services.outbox.tracing.message_spans import chat_hash
from services.outbox.tracing.tail_sampling import SLOW_SECONDS, TailSampler
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, NOW, event, message, result, sent, submission
from tests.servers import until
from tests.span_recorder import SpanRecorder

UNSAMPLED = TraceContext(0xABCDEF, 0x1234, sampled=False)
BAD = result(Outcome.NOT_SENT, Reason.BAD_REQUEST, detail="nonsense")


class Sampling:
    """A tail sampler, and the spans that it exported."""

    def __init__(self, desk: Desk, sampler: TailSampler, telemetry: Telemetry, memory: SpanRecorder) -> None:
        self.desk, self.sampler = desk, sampler
        self._telemetry, self._memory = telemetry, memory

    async def deliver(self, answer: Callable[[], Result], **of: Any) -> tuple[EventRecord, str]:
        """One message from its event to one attempt."""
        posted = submission(message(), of=event(trace=UNSAMPLED, **of))
        await self.desk.submit(posted)
        self.sampler.remember_commit(posted.events[0], NOW + 0.25)
        (claimed,) = await self.desk.claim()
        settled = self.desk.decided(claimed, answer())
        await self.desk.settle(settled)
        self.sampler.sample_message(settled, self.desk.clock.now)
        return posted.events[0], claimed.id

    def reply_to(self, posted: EventRecord) -> None:
        span = FinishedSpan("tap", TraceContext(0xFEDCBA, 0x4321, sampled=False), None, NOW, NOW + 0.1)
        self.sampler.sample_reply(span, event_id=posted.id)

    async def spans(self) -> list[ReadableSpan]:
        """All exported spans, once nothing waits."""

        async def idle() -> bool:
            return self.sampler.idle

        await until(idle)
        await self.desk.database.check()
        return list(self._memory.get_finished_spans())

    async def exported(self, count: int) -> list[ReadableSpan]:
        async def there() -> bool:
            return len(self._memory.get_finished_spans()) >= count

        await until(there)
        return await self.spans()


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[Sampling]:
    memory = SpanRecorder()
    telemetry = Telemetry("tests", ServiceSettings(otel_traces_sampler_arg=0), memory)
    sampler = TailSampler(desk.database, telemetry)
    task = asyncio.create_task(sampler.run())
    try:
        yield Sampling(desk, sampler, telemetry, memory)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        telemetry.close()


@pytest.fixture
async def sampling(desk: Desk) -> AsyncIterator[Sampling]:
    async with running(desk) as made:
        yield made


def named(spans: list[ReadableSpan]) -> list[str]:
    return sorted(span.name for span in spans)


async def test_a_quick_delivery_is_not_exported(sampling: Sampling) -> None:
    await sampling.deliver(sent)
    assert await sampling.spans() == []


async def test_a_failed_message_is_exported_whole(sampling: Sampling) -> None:
    posted, message_id = await sampling.deliver(lambda: BAD, correlation_id="run-1")
    spans = await sampling.exported(6)
    assert named(spans) == ["accept", "enqueue", "pace", "queue", "send", "settle"]
    assert {span.context.trace_id for span in spans if span.context} == {UNSAMPLED.trace_id}
    by_name = {span.name: span for span in spans}
    root = by_name["accept"]
    assert root.context is not None
    assert root.context.span_id == UNSAMPLED.span_id
    assert (root.start_time, root.end_time) == (int(NOW * 1e9), int((NOW + 0.25) * 1e9))
    assert root.attributes is not None
    assert root.attributes["cctelegram.commit_measured"] is True
    send = by_name["send"]
    assert send.status.description == "bad_request: nonsense"
    assert send.attributes is not None
    assert send.attributes["cctelegram.reason"] == "bad_request"
    for span in spans:
        if span.name != "enqueue":
            assert span.attributes is not None
            assert span.attributes["cctelegram.message_id"] == message_id
        if span.name in {"accept", "send"}:
            assert span.attributes is not None
            assert span.attributes["cctelegram.kept"] is True
            assert span.attributes["cctelegram.correlation_id"] == "run-1"
            assert span.attributes["cctelegram.event_type"] == posted.type
            assert span.attributes["cctelegram.chat_hash"] == chat_hash(ADA)


async def test_a_slow_delivery_is_exported_with_each_of_its_attempts(sampling: Sampling) -> None:
    posted = submission(message(), of=event(trace=UNSAMPLED))
    await sampling.desk.submit(posted)
    (first,) = await sampling.desk.claim()
    refused = sampling.desk.decided(first, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED))
    await sampling.desk.settle(refused)
    sampling.sampler.sample_message(refused, sampling.desk.clock.now)
    sampling.desk.clock.advance(SLOW_SECONDS + 5)
    (second,) = await sampling.desk.claim()
    delivered = sampling.desk.decided(second, sent())
    await sampling.desk.settle(delivered)
    sampling.sampler.sample_message(delivered, sampling.desk.clock.now)
    spans = await sampling.exported(10)
    assert named(spans) == sorted(["accept", "enqueue", *["queue", "pace", "send", "settle"] * 2])
    numbers = {
        span.attributes["cctelegram.attempt"] for span in spans if span.attributes and span.name == "send"
    }
    assert numbers == {1, 2}
    root = next(span for span in spans if span.name == "accept")
    assert root.attributes is not None
    # Its commit was not remembered: the span ends when the rows were handed to the disk.
    assert root.attributes["cctelegram.commit_measured"] is False
    assert root.end_time == int(NOW * 1e9)


async def test_a_message_that_waited_for_its_time_is_not_slow(sampling: Sampling) -> None:
    posted = submission(message(deliver_at=NOW + 60), of=event(trace=UNSAMPLED))
    await sampling.desk.submit(posted)
    sampling.desk.clock.advance(60 + SLOW_SECONDS / 2)
    (claimed,) = await sampling.desk.claim()
    delivered = sampling.desk.decided(claimed, sent())
    await sampling.desk.settle(delivered)
    sampling.sampler.sample_message(delivered, sampling.desk.clock.now)
    sampling.reply_to(posted.events[0])
    assert await sampling.spans() == []


async def test_a_reply_to_a_message_that_failed_is_exported(sampling: Sampling) -> None:
    posted, _ = await sampling.deliver(lambda: BAD)
    sampling.reply_to(posted)
    assert "tap" in named(await sampling.exported(7))


async def test_the_limiters_wait_is_in_it(sampling: Sampling) -> None:
    sampling.desk.limits = sampling.desk.limits.__class__(0, 1, 1, 0)
    await sampling.deliver(sent)
    posted = submission(message(), of=event(trace=UNSAMPLED))
    await sampling.desk.submit(posted)
    sampling.desk.clock.advance(30)
    (claimed,) = await sampling.desk.claim()
    settled = sampling.desk.decided(claimed, BAD)
    await sampling.desk.settle(settled)
    sampling.sampler.sample_message(settled, sampling.desk.clock.now)
    spans = await sampling.exported(6)
    pace = next(span for span in spans if span.name == "pace")
    assert pace.end_time is not None
    assert pace.start_time is not None
    assert (pace.end_time - pace.start_time) / 1e9 == pytest.approx(claimed.limiter_wait, abs=1e-3)
    assert claimed.limiter_wait > 0


async def test_a_message_that_expired_is_exported_with_its_wait(sampling: Sampling) -> None:
    posted = submission(message(expires_at=NOW + 1), of=event(trace=UNSAMPLED))
    await sampling.desk.submit(posted)
    sampling.desk.clock.advance(2)
    batch = await sampling.desk.batch()
    for settled in batch.ended:
        sampling.sampler.sample_message(settled, sampling.desk.clock.now)
    spans = await sampling.exported(3)
    assert named(spans) == ["accept", "enqueue", "queue"]
    queue = next(span for span in spans if span.name == "queue")
    assert queue.status.description == "expired"


async def test_an_event_of_several_messages_is_exported_once(sampling: Sampling) -> None:
    posted = submission(message(ADA), message(1002), of=event(trace=UNSAMPLED))
    await sampling.desk.submit(posted)
    for claimed in await sampling.desk.claim():
        settled: Settled = sampling.desk.decided(claimed, BAD)
        await sampling.desk.settle(settled)
        sampling.sampler.sample_message(settled, sampling.desk.clock.now)
    assert named(await sampling.exported(10)).count("accept") == 1


async def test_what_is_sampled_is_exported_as_it_happens_and_not_again(
    sampling: Sampling, database: Database
) -> None:
    posted = submission(message(), of=event())
    await database.write("enqueue", partial(enqueue.insert, submissions=[posted], now=NOW))
    (claimed,) = await sampling.desk.claim()
    settled = sampling.desk.decided(claimed, BAD)
    await sampling.desk.settle(settled)
    sampling.sampler.sample_message(settled, NOW)
    assert await sampling.spans() == []
