"""Makes values of the engine with every field filled; keywords change fields."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
import uuid_utils

from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import (
    Claimed,
    EventRecord,
    IdempotencyKey,
    Lane,
    MessageRecord,
    Outcome,
    Reason,
    Rendered,
    Result,
    Submission,
    Text,
    UnknownPolicy,
)

NOW = 1_000_000.0
ADA, GRACE = 1001, 1002
TRACE = TraceContext(0xABCDEF, 0x1234, sampled=True)


def event(title: str = "hello", **changes: Any) -> EventRecord:
    made = EventRecord(
        id=str(uuid_utils.uuid7()),
        type="custom_event",
        category="custom",
        title=title,
        source="tests",
        severity="low",
        body=orjson.dumps({"parts": [title]}).decode(),
        accepted_at=NOW,
        trace=TRACE,
    )
    return replace(made, **changes)


def parts(*texts: str) -> str:
    """The body of an event that :func:`render` makes these parts of."""
    return orjson.dumps({"parts": texts}).decode()


def message(chat_id: int = ADA, **changes: Any) -> MessageRecord:
    return replace(MessageRecord(id=str(uuid_utils.uuid7()), chat_id=chat_id), **changes)


def submission(
    *messages: MessageRecord, of: EventRecord | None = None, key: IdempotencyKey | None = None
) -> Submission:
    return Submission((of or event(),), (messages or (message(),),), key)


def each(titles: Iterable[str], chat_id: int = ADA, **changes: Any) -> Submission:
    """One event for each title, all to one chat."""
    events = tuple(event(title) for title in titles)
    return Submission(events, tuple((message(chat_id, **changes),) for _ in events))


def key(name: str = "key-1", body: str = "body", answer: str = '{"first":true}') -> IdempotencyKey:
    return IdempotencyKey("default", name, body, answer)


def claimed(**changes: Any) -> Claimed:
    made = Claimed(
        seq=1,
        id=str(uuid_utils.uuid7()),
        event_id=str(uuid_utils.uuid7()),
        event_type="custom_event",
        category="custom",
        source="tests",
        title="hello",
        body=parts("hello"),
        correlation_id="c-1",
        trace=TRACE,
        bot="default",
        chat_id=ADA,
        thread_id=None,
        lane=Lane.NORMAL,
        silent=False,
        on_unknown=UnknownPolicy.RESEND,
        accepted_at=NOW - 10,
        due_at=0.0,
        expires_at=None,
        claimed_at=NOW - 1,
        limiter_wait=0.0,
        attempt=1,
        retries=0,
        part=0,
        possible_duplicate=False,
        plain=False,
    )
    return replace(made, **changes)


def result(outcome: Outcome, reason: Reason = Reason.NONE, **more: Any) -> Result:
    return replace(Result(outcome, reason, NOW - 0.5, NOW), **more)


def sent(message_id: int = 1) -> Result:
    return result(Outcome.SENT, message_id=message_id)


def render(message: Claimed) -> Rendered:
    """The parts of the body, as they are."""
    return Rendered(tuple(Text(text) for text in orjson.loads(message.body)["parts"]))
