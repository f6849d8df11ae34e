"""Approvals from requests: creates an approval from the body of ``POST /api/v1/approvals``, or refuses it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import uuid_utils
from fastapi import Request
from opentelemetry import trace as otel
from sqlalchemy import Connection

from services.bridge.approvals import approval as domain
from services.bridge.approvals import question_text, reminders, store
from services.bridge.approvals.approval import Approval, Option
from services.bridge.approvals.reminders import Plan
from services.bridge.bot_messages import Recipient
from services.bridge.bots import DEFAULT, Bot
from services.bridge.chats.names import Found, NamedChat
from services.bridge.events.addressed import no_chat
from services.bridge.events.templates import Templates
from services.bridge.webhooks.destinations import Destinations
from services.contracts import times
from services.contracts.approvals import NewApproval
from services.contracts.details import EventData
from services.contracts.questions import DEFAULT_REMINDERS, LONGEST_LIFE_SECONDS, SHORTEST_LIFE_SECONDS
from services.kit import logs
from services.kit.errors import invalid_input
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.messages import IdempotencyKey, Submission

NO_APPROVERS = "no approver is configured: set TELEGRAM_ALLOWED_USERS"


def check_callback(new: NewApproval, destinations: Destinations) -> None:
    """Refuses a callback URL that the bridge may not call.

    Raises:
        Problem: 422, names ``callback_url``.
    """
    refusal = destinations.refusal(new.callback_url) if new.callback_url else None
    if refusal:
        raise invalid_input([{"loc": ["body", "callback_url"], "msg": refusal}])


def find_bot(new: NewApproval, bots: Mapping[str, Bot]) -> Bot:
    """The bot that shows the question.

    Raises:
        Problem: 422, names ``bot``: no bot has this name; 503, neither the request nor the bot has a chat.
    """
    found = bots.get(new.bot or DEFAULT)
    if found is None:
        names = ", ".join(bots)
        raise invalid_input([{"loc": ["body", "bot"], "msg": f"no bot has this name; there are {names}"}])
    if new.chat_id is None and not found.chats:
        raise no_chat()
    return found


def new_approval(
    new: NewApproval, by: Bot, client: str, *, trace: TraceContext, expires_in: float, now: float
) -> Approval:
    """The approval to store, still without a code.

    Args:
        new: the request's body.
        by: the bot that shows the question.
        client: name of the caller's key.
        trace: the approval's span.
        expires_in: seconds until it expires, if the body gives no time.
        now: seconds since the epoch.

    Raises:
        Problem: 422, names the wrong field.
    """
    identifier, event_id = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    approvers = _approvers(new, by.allowed)
    check_needed(new.needed, approvers, ["body"])
    return Approval(
        id=identifier,
        code="",
        token=domain.new_token(),
        title=new.title,
        prompt=new.prompt,
        options=()
        if new.answer == "text"
        else tuple(Option(option.value, option.label) for option in new.options),
        approvers=approvers,
        bot=by.name,
        client=client,
        source=new.source,
        severity=new.severity.value,
        correlation_id=new.correlation_id or logs.correlation_id.get() or identifier,
        event_id=event_id,
        trace=trace,
        created_at=now,
        expires_at=_expires_at(new, now, expires_in),
        callback_url=new.callback_url,
        metadata=new.metadata,
        needed=new.needed,
        text_limit=new.max_length if new.answer == "text" else None,
    )


def named_chats(new: NewApproval, bot: Bot) -> set[NamedChat]:
    """The chats that the request names by a text, whose ids are to be found."""
    return {NamedChat(bot.name, one) for one in _given_chats(new) if isinstance(one, str)}


def _given_chats(new: NewApproval) -> Sequence[int | str]:
    if new.chat_id is None:
        return ()
    return new.chat_id if isinstance(new.chat_id, list) else [new.chat_id]


def chat_ids(new: NewApproval, bot: Bot, found: Found) -> Sequence[int]:
    """The chats that get the question: those of the request, else the bot's.

    Args:
        new: the request's body.
        bot: that shows the question.
        found: the ids of the chats that the request names by a text.

    Raises:
        Problem: 422, names ``chat_id``: there is no such chat, or it is named twice.
    """
    if new.chat_id is None:
        return bot.chats
    ids: list[int] = []
    for number, one in enumerate(_given_chats(new)):
        chat = one if isinstance(one, int) else found[NamedChat(bot.name, one)]
        why = chat if isinstance(chat, str) else "a recipient is named twice" if chat in ids else None
        if isinstance(chat, str) or why:
            where = ["body", "chat_id", *([number] if isinstance(new.chat_id, list) else [])]
            raise invalid_input([{"loc": where, "msg": why}])
        ids.append(chat)
    return ids


def recipients(new: NewApproval, chats: Sequence[int], approval: Approval) -> list[Recipient]:
    """The question's recipients.

    Args:
        new: the request's body.
        chats: that get the question.
        approval: as it is stored.
    """
    return [Recipient(chat_id, new.thread_id, expires_at=approval.expires_at) for chat_id in chats]


def approval_key(client: str, given: str | None, body: bytes, approval_id: str) -> IdempotencyKey | None:
    """The idempotency key of a request; its client name keeps it apart from the keys of events."""
    if given is None:
        return None
    return IdempotencyKey(f"{client}/approvals", given, hashlib.sha256(body).hexdigest(), approval_id)


def create(
    connection: Connection,
    approval: Approval,
    to: Sequence[Recipient],
    *,
    key: IdempotencyKey | None,
    templates: Templates | None,
    plan: Plan,
    now: float,
) -> Submission | str:
    """Stores an approval with its question, in a transaction.

    Returns:
        What was stored, or the id of the approval that an earlier request with this key created.

    Raises:
        Problem: 422, the key was used with another body.
    """
    if key is not None:
        earlier = store.claim_key(connection, key, now)
        if earlier is not None:
            return earlier
    approval = store.with_new_code(connection, approval)
    worded = store.in_zone_of(connection, approval, {one.chat_id for one in to})
    question = question_text.render_question(templates, worded)
    reminders.add(connection, approval.id, plan, now)
    return store.create(connection, approval, question, to, now)


def check_needed(needed: int, approvers: Sequence[int], where: Sequence[int | str]) -> None:
    """Refuses a question that needs more people than may decide it.

    Raises:
        Problem: 422, names ``needed``, which is in the object ``where``.
    """
    if needed > len(approvers):
        people = "so many people may decide (approvers, or TELEGRAM_ALLOWED_USERS)"
        text = f"write at most {len(approvers)}: {people}"
        raise invalid_input([{"loc": [*where, "needed"], "msg": text}])


def plan_of(
    wanted: NewApproval | EventData, by: Bot, now: float, where: Sequence[int | str] = ("body",)
) -> Plan:
    """When the question is repeated and escalated.

    Args:
        wanted: has the fields of the client.
        by: the bot that shows the question.
        now: seconds since the epoch.
        where: the object that has these fields, for errors.

    Raises:
        Problem: 422, a person may not decide.
    """
    _check_allowed(wanted.escalate_to or [], by.allowed, [*where, "escalate_to"])
    return Plan(
        every=wanted.remind_every or 0.0,
        times=(wanted.remind_times or DEFAULT_REMINDERS) if wanted.remind_every else 0,
        escalate_at=None if wanted.escalate_after is None else now + wanted.escalate_after,
        escalate_to=tuple(sorted(set(wanted.escalate_to or ()))),
    )


def _approvers(new: NewApproval, allowed: frozenset[int]) -> tuple[int, ...]:
    if new.approvers is None:
        if not allowed:
            raise invalid_input([{"loc": ["body", "approvers"], "msg": NO_APPROVERS}])
        return tuple(sorted(allowed))
    _check_allowed(new.approvers, allowed, ["body", "approvers"])
    return tuple(sorted(set(new.approvers)))


def _check_allowed(users: Sequence[int], allowed: frozenset[int], where: Sequence[int | str]) -> None:
    wrong = [
        {"loc": [*where, index], "msg": f"{user} is not in TELEGRAM_ALLOWED_USERS"}
        for index, user in enumerate(users)
        if user not in allowed
    ]
    if wrong:
        raise invalid_input(wrong)


def _expires_at(new: NewApproval, now: float, default: float) -> float:
    if new.expires_at is None:
        return now + (default if new.expires_in is None else new.expires_in)
    return valid_expiry(new.expires_at, now, ["body", "expires_at"])


def valid_expiry(expires_at: datetime | timedelta, now: float, loc: Sequence[str | int]) -> float:
    """The time as seconds since the epoch.

    Args:
        expires_at: as the client gave it.
        now: seconds since the epoch.
        loc: the field, for the error.

    Raises:
        Problem: 422, names the field: the time is too early or too late.
    """
    at = times.at(expires_at, now)
    if not now + SHORTEST_LIFE_SECONDS <= at <= now + LONGEST_LIFE_SECONDS:
        text = "this time is not between 5 seconds and 30 days from now"
        raise invalid_input([{"loc": list(loc), "msg": text}])
    return at


def request_span(request: Request, telemetry: Telemetry) -> TraceContext:
    """A new span: child of the request's span, else of the caller's, else in a new trace."""
    current = otel.get_current_span().get_span_context()
    if current.is_valid:
        return TraceContext(current.trace_id, current.span_id, current.trace_flags.sampled).child()
    parent = TraceContext.parse(request.headers.get("traceparent"))
    return parent.child() if parent else telemetry.new_trace()
