"""Accept: from a request's bytes to a submission. Pure, except for approvals, which the caller creates."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
import uuid_utils

from services.bridge.bots import DEFAULT
from services.bridge.chats.names import Found
from services.bridge.events import answer_body
from services.bridge.events.addressed import AddressedRequest, Place
from services.bridge.files import names
from services.bridge.routes.destinations import Destination
from services.contracts import times
from services.contracts.events import CATEGORY_OF, DIGEST_SECONDS, NewEvent
from services.contracts.fields import Priority, Severity
from services.contracts.files import Attachment
from services.kit.errors import Problem, invalid_input
from services.kit.telemetry.telemetry import TraceContext
from services.outbox import messages
from services.outbox.messages import (
    AT_ONCE,
    DigestKey,
    EventFile,
    IdempotencyKey,
    Lane,
    MediaKind,
    MessageRecord,
    SingleUse,
    Submission,
    UnknownPolicy,
)
from services.outbox.messages.dedup import DedupKey, Deduplication

#: The event type that creates an approval.
QUESTION = "approval_request"
LONGEST_KEY = 255
FURTHEST = 366 * 86_400.0
#: A client's clock may be ahead by so many seconds.
CLOCKS_DIFFER = 300.0

_LANES = {
    Priority.LOW: Lane.BULK,
    Priority.NORMAL: Lane.NORMAL,
    Priority.HIGH: Lane.NORMAL,
    Priority.URGENT: Lane.URGENT,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request.

    Args:
        client: name of the key.
        parent: the caller's span from ``traceparent``, or None.
        correlation_id: from ``X-Correlation-ID``, or empty.
        idempotency_key: from ``Idempotency-Key``, or None.
    """

    client: str
    parent: TraceContext | None
    correlation_id: str
    idempotency_key: str | None
    #: A single-use name of the request, such as its signature.
    once: SingleUse | None = None
    #: What a repetition of the request has in common with it, if that is not the body.
    identity: bytes | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """The approval of an ``approval_request`` event.

    Args:
        id: of the approval.
        code: that people type; unique among approvals.
        event: that carries the question.
        messages: that show the question.
        keep: stores the approval, given a connection in a transaction.
    """

    id: str
    code: str
    event: messages.EventRecord
    messages: tuple[MessageRecord, ...]
    keep: Callable[[Any], None]


#: Creates the approval of a posted event, given the event to store, its recipients and its position.
Asks = Callable[[NewEvent, messages.EventRecord, Sequence[Destination], Place], Question]


@dataclass(frozen=True, slots=True)
class AcceptedRequest:
    """An accepted request: what to store, and what to answer once it is stored.

    Args:
        submission: events and messages to store.
        answer: the response body, JSON.
        codes: of the approvals in it.
        is_list: whether the request was a list of events.
    """

    submission: Submission
    answer: bytes
    codes: tuple[str, ...] = ()
    is_list: bool = False

    @property
    def has_files(self) -> bool:
        return any(event.files for event in self.submission.events)


def accept(
    request: AddressedRequest,
    caller: Caller,
    trace: TraceContext,
    *,
    now: float,
    trace_url: str,
    asks: Asks,
    chats: Found = MappingProxyType({}),
    refusal: Callable[[str], str | None] = lambda _: None,
    dedup_window: float = 600.0,
) -> AcceptedRequest:
    """Checks a request and makes events and messages of it.

    Args:
        request: its events with their recipients.
        caller: of the request.
        trace: the span of this request; a batch shares it.
        now: seconds since the epoch.
        trace_url: base URL of the trace viewer, or empty.
        asks: creates the approval of an ``approval_request``.
        chats: the ids of the chats that the request names by a text.
        refusal: returns why a callback's URL may not be called, or None.
        dedup_window: seconds in which a `dedup_key` is counted, if the event does not say.

    Raises:
        Problem: 400, the Idempotency-Key is invalid; 422, one entry per invalid field; 503, a route names an
            unknown chat.
    """
    events, recipients, answers, dedup = [], [], [], []
    questions: list[Question] = []
    for number, addressed in enumerate(request.events):
        event, place = addressed.event, addressed.place
        _check_callback(event, place, refusal)
        _check_timestamp(event, place, now)
        _check_attachments(event, place, refusal)
        text = event.model_dump_json(exclude_defaults=True) if request.is_list else request.body.decode()
        # Each event of a batch is a trace of its own, linked to none but found by the same id.
        context = trace if number == 0 else trace.child()
        made = _event(event, text, caller, context, now)
        targets = addressed.destinations(chats)
        question = asks(event, made, targets, place) if event.type == QUESTION else None
        made = question.event if question else made
        shown = question.messages if question else _messages(event, targets, place, now)
        questions += [question] if question else []
        events.append(made)
        recipients.append(shown)
        answers.append(answer_body.of_event(made, shown, trace_url, question.id if question else None))
        dedup.append(_dedup_key(event, shown, caller, dedup_window))
    answer = answer_body.written(answers, is_list=request.is_list)
    key = idempotency_key(caller, request.body)
    stored = Submission(
        tuple(events),
        tuple(recipients),
        replace(key, answer=answer.decode()) if key else None,
        caller.once,
        partial(_store_approvals, questions=questions) if questions else None,
        Deduplication(tuple(dedup), partial(answer_body.with_repeats, answers, request.is_list, trace_url))
        if any(dedup)
        else None,
    )
    return AcceptedRequest(stored, answer, tuple(question.code for question in questions), request.is_list)


def _dedup_key(
    event: NewEvent, shown: Sequence[MessageRecord], caller: Caller, window: float
) -> DedupKey | None:
    """The key under which repeats are counted; None if there is none, or no chat gets the event."""
    if event.dedup_key is None or not shown:
        return None
    topics = sorted((one.bot, one.chat_id, one.thread_id or 0) for one in shown)
    digest = hashlib.sha256(orjson.dumps(topics)).hexdigest()
    return DedupKey(caller.client, event.dedup_key, digest, event.dedup_window or window)


def repetition(caller: Caller, earlier: IdempotencyKey) -> AcceptedRequest:
    """The answer to a repeated Idempotency-Key: it stores nothing but the request's single-use name."""
    return AcceptedRequest(Submission((), (), earlier, caller.once), earlier.answer.encode())


def _check_callback(event: NewEvent, place: Place, refusal: Callable[[str], str | None]) -> None:
    why = refusal(event.callback_url) if event.callback_url else None
    if why:
        raise invalid_input([{"loc": [*place, "callback_url"], "msg": why}])


def _check_timestamp(event: NewEvent, place: Place, now: float) -> None:
    if event.timestamp is None:
        return
    where = (*place, "timestamp")
    age = now - event.timestamp.timestamp()
    if age < -CLOCKS_DIFFER:
        raise invalid_input([{"loc": where, "msg": "this time is in the future"}])
    if age > FURTHEST:
        raise invalid_input([{"loc": where, "msg": "this time is more than a year ago"}])


def _check_attachments(event: NewEvent, place: Place, refusal: Callable[[str], str | None]) -> None:
    for number, one in enumerate(event.attachments):
        where = (*place, "attachments", number)
        if one.path is not None:
            text = "only a file of EVENTS_DIR may name a path; upload the file with POST /api/v1/files"
            raise invalid_input([{"loc": [*where, "path"], "msg": text}])
        why = refusal(one.url) if one.url else None
        if why:
            raise invalid_input([{"loc": [*where, "url"], "msg": why}])


def _store_approvals(connection: Any, questions: Sequence[Question]) -> None:
    for question in questions:
        question.keep(connection)


def _event(
    event: NewEvent, body: str, caller: Caller, trace: TraceContext, now: float
) -> messages.EventRecord:
    identifier = str(uuid_utils.uuid7())
    severity = event.severity or event.data.severity or Severity.LOW
    return messages.EventRecord(
        id=identifier,
        type=event.kind,
        category=CATEGORY_OF[event.kind],
        title=event.title,
        source=event.source,
        severity=severity.value,
        body=body,
        accepted_at=now,
        trace=trace,
        parent=caller.parent,
        correlation_id=event.correlation_id or caller.correlation_id or identifier,
        client=caller.client,
        callback_url=event.callback_url,
        files=tuple(map(_file, event.attachments)),
    )


def _file(attachment: Attachment) -> EventFile:
    name = attachment.filename or (names.of_url(attachment.url) if attachment.url else "")
    return EventFile(
        kind=MediaKind(attachment.kind.value),
        filename=name,
        file_id=attachment.file_id,
        url=attachment.url,
        caption=attachment.caption,
        spoiler=attachment.spoiler,
    )


def _messages(
    event: NewEvent, targets: Sequence[Destination], place: Place, now: float
) -> tuple[MessageRecord, ...]:
    # Critical events must not wait behind progress reports.
    lane = Lane.URGENT if event.severity is Severity.CRITICAL else _LANES[event.priority]
    digest = None
    if event.digest_key is not None and lane is not Lane.URGENT:
        digest = DigestKey(event.digest_key, event.digest_window or DIGEST_SECONDS)
    # Of a digest, at the end of its window at the latest.
    wanted = timedelta(seconds=digest.window) if digest else event.deliver_at
    deliver_at = _moment(wanted, (*place, "deliver_at"), now)
    expires_at = _expiry(event, place, now)
    if deliver_at is not None and expires_at is not None and expires_at <= deliver_at:
        field = "expires_at" if event.expires_in is None else "expires_in"
        after = "deliver_at" if digest is None else "the end of the digest's window"
        raise invalid_input([{"loc": [*place, field], "msg": f"{field} is not after {after}"}])
    return tuple(
        MessageRecord(
            id=str(uuid_utils.uuid7()),
            chat_id=target.chat_id,
            thread_id=target.thread_id or event.thread_id,
            bot=target.bot or event.bot or DEFAULT,
            lane=lane,
            silent=event.silent or target.silent,
            # A time in the past means now.
            deliver_at=deliver_at if deliver_at is not None and deliver_at > now else AT_ONCE,
            expires_at=expires_at,
            on_unknown=UnknownPolicy(event.on_unknown),
            update_key=event.update_key,
            update_at=event.timestamp.timestamp() if event.update_key and event.timestamp else None,
            digest=digest,
        )
        for target in targets
    )


def _expiry(event: NewEvent, place: Place, now: float) -> float | None:
    if event.expires_in is not None:
        return now + event.expires_in
    expires_at = _moment(event.expires_at, (*place, "expires_at"), now)
    if expires_at is not None and expires_at <= now:
        raise invalid_input([{"loc": [*place, "expires_at"], "msg": "this time has passed"}])
    return expires_at


def _moment(value: datetime | timedelta | None, place: tuple[int | str, ...], now: float) -> float | None:
    """A time in seconds since the epoch; a duration counts from ``now``.

    Raises:
        Problem: 422, the time is more than a year ahead.
    """
    if value is None:
        return None
    seconds = times.at(value, now)
    if seconds > now + FURTHEST:
        raise invalid_input([{"loc": place, "msg": "this time is more than a year ahead"}])
    return seconds


def idempotency_key(caller: Caller, body: bytes) -> IdempotencyKey | None:
    """The request's Idempotency-Key with the hash of the request, without an answer; None without the header.

    Raises:
        Problem: 400, the header is empty or too long.
    """
    key = caller.idempotency_key
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY:
        raise Problem(400, "Bad Idempotency-Key", f"The header must have 1 to {LONGEST_KEY} characters.")
    identity = body if caller.identity is None else caller.identity
    return IdempotencyKey(caller.client, key, hashlib.sha256(identity).hexdigest(), "")
