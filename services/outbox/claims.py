"""Claim: how a worker takes the next message of each chat that is ready.

A claim leases chats, one message of each. While a chat is leased nobody else sends to it, so the
order holds, and the chat's own rate can live in its row. The functions run inside one
transaction; none stays open across a call to Telegram.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from services.kit.telemetry import TraceContext
from services.outbox import chats
from services.outbox.chats import ChatRow
from services.outbox.messages import Claimed, Lane, Reason, State, UnknownPolicy
from services.outbox.schema import attempt, chat, event, message

#: Whether a muted chat does without this message.
Mutes = Callable[[Claimed], bool]


def not_urgent(message: Claimed) -> bool:
    return message.lane is not Lane.URGENT


@dataclass(frozen=True, slots=True)
class Batch:
    """What was claimed; where that is nothing, when the next chat has its turn."""

    messages: list[Claimed]
    next_at: float | None = None


def claim(
    connection: Connection,
    bot: str,
    owner: str,
    limit: int,
    *,
    now: float,
    paced_since: float | None,
    mutes: Mutes = not_urgent,
) -> Batch:
    """Leases up to ``limit`` chats that are ready and opens an attempt for the next message of each.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: this worker.
        limit: how many may be sent now.
        now: seconds since the epoch.
        paced_since: since when the bot's own rate has held messages up; None if it does not.
        mutes: which messages a muted chat does not get.
    """
    ready = _lease(connection, bot, owner, limit, now)
    if not ready:
        return Batch([], _next_at(connection, bot))
    rows = {row["chat_id"]: row for row in chats.heads(connection, bot, ready)}
    refusing = {chat_id for chat_id, row in rows.items() if row["blocked"] or row["migrated_to"]}
    for chat_id in refusing:
        _set_right(connection, bot, rows[chat_id], now)
    picked = [chats.choose(chats.heads_of(rows[chat_id]), now) for chat_id in rows.keys() - refusing]
    messages = _load(connection, [head.seq for head in picked if head], rows, now, paced_since)
    expired = [m for m in messages if m.expires_at is not None and m.expires_at <= now]
    chats.finish(
        connection,
        [m.seq for m in expired],
        State.EXPIRED,
        Reason.EXPIRED,
        cause="expires_at has passed",
        now=now,
    )
    muted = [m for m in messages if m not in expired and _is_muted(rows[m.chat_id], now) and mutes(m)]
    chats.finish(connection, [m.seq for m in muted], State.SUPPRESSED, Reason.MUTED, cause="muted", now=now)
    live = [m for m in messages if m not in expired and m not in muted]
    _open_attempts(connection, live)
    chats.release(connection, bot, owner, set(ready) - {m.chat_id for m in live}, now=now, pace=chats.pace_of)
    return Batch(live, now)


def _is_muted(row: ChatRow, now: float) -> bool:
    until = row["muted_until"]
    return until is not None and until > now


def _next_at(connection: Connection, bot: str) -> float | None:
    soonest = (connection.execute(_SOONEST, {"bot": bot, "lane": int(lane)}).scalar() for lane in Lane)
    return min((at for at in soonest if at is not None), default=None)


_SOONEST = (
    select(chat.c.next_at)
    .where(chat.c.bot == bindparam("bot"), chat.c.lane == bindparam("lane"), chat.c.next_at.is_not(None))
    .order_by(chat.c.next_at)
    .limit(1)
)


def _set_right(connection: Connection, bot: str, row: ChatRow, now: float) -> None:
    """A chat that nothing can be sent to: its messages move with it, or end."""
    if row["migrated_to"]:
        chats.move(connection, bot, row["chat_id"], row["migrated_to"], now)
    else:
        chats.suppress(connection, bot, row["chat_id"], Reason(row["blocked"]), now)


def _lease(connection: Connection, bot: str, owner: str, limit: int, now: float) -> list[int]:
    ready: list[int] = []
    for lane in Lane:
        room = limit - len(ready)
        if room <= 0:
            break
        wanted = {"bot": bot, "lane": int(lane), "now": now, "room": room}
        ready.extend(connection.execute(_READY, wanted).scalars())
    if ready:
        until = now + chats.LEASE_SECONDS
        connection.execute(_LEASE, {"b_bot": bot, "ids": ready, "b_owner": owner, "until": until})
    return ready


_READY = (
    select(chat.c.chat_id)
    .where(
        chat.c.bot == bindparam("bot"),
        chat.c.lane == bindparam("lane"),
        chat.c.next_at <= bindparam("now"),
    )
    .order_by(chat.c.next_at)
    .limit(bindparam("room"))
    .with_for_update(skip_locked=True)
)
_LEASE = (
    update(chat)
    .where(chat.c.bot == bindparam("b_bot"), chat.c.chat_id.in_(bindparam("ids", expanding=True)))
    .values(owner=bindparam("b_owner"), lease_until=bindparam("until"), next_at=None)
)
_MESSAGES = select(
    message,
    event.c.type,
    event.c.category,
    event.c.source,
    event.c.severity,
    event.c.title,
    event.c.body,
    event.c.correlation_id,
    event.c.traceparent,
).join(event, message.c.event_id == event.c.id)
_BY_SEQ = _MESSAGES.where(message.c.seq.in_(bindparam("seqs", expanding=True)))


def _load(
    connection: Connection,
    seqs: Iterable[int],
    rows: Mapping[int, Any],
    now: float,
    paced_since: float | None,
) -> list[Claimed]:
    found = connection.execute(_BY_SEQ, {"seqs": sorted(seqs)}).all()
    targets = _targets(connection, found)
    never_sent = [row.seq for row in found if row.edits and _is_never_sent(targets.get(row.edits))]
    chats.finish(
        connection,
        never_sent,
        State.SUPPRESSED,
        Reason.NEVER_SENT,
        cause="the message that it edits was never sent",
        now=now,
    )
    return [
        _claimed(
            row,
            now,
            _limiter_wait(row, rows[row.chat_id], now, paced_since),
            row.attempts + 1,
            _edited(targets, row),
        )
        for row in found
        if row.seq not in never_sent
    ]


def _is_never_sent(target: "_Target | None") -> bool:
    """Nothing stands in the chat. Where that is unknown, what was to be an edit is sent instead."""
    return target is None or (target.telegram_message_id is None and target.state is not State.UNKNOWN)


def in_flight(connection: Connection, bot: str, chat_ids: Iterable[int], now: float) -> list[Claimed]:
    """The messages of leased chats whose attempt is open: after a crash, nobody knows if they arrived."""
    open_ones = _MESSAGES.where(
        message.c.bot == bot,
        message.c.chat_id.in_(sorted(chat_ids)),
        message.c.state == State.SENDING.value,
    )
    rows = connection.execute(open_ones).all()
    targets = _targets(connection, rows)
    return [_claimed(row, now, 0.0, row.attempts, _edited(targets, row)) for row in rows]


def _limiter_wait(row: Any, of: ChatRow, now: float, paced_since: float | None) -> float:
    """How long the message could have gone but for Telegram's rates, of its chat and of the bot."""
    could_go = max(row.accepted_at, row.due_at)
    by_chat = max(0.0, min(of["open_at"], now) - max(could_go, of["sent_at"]))
    by_bot = 0.0 if paced_since is None else max(0.0, now - max(could_go, of["open_at"], paced_since))
    return float(by_chat + by_bot)


def _targets(connection: Connection, rows: Sequence[Any]) -> dict[str, "_Target"]:
    """The messages that some of the rows edit, by id."""
    wanted = sorted(row.edits for row in rows if row.edits is not None)
    if not wanted:
        return {}
    found = connection.execute(
        select(message.c.id, message.c.state, message.c.telegram_message_ids).where(message.c.id.in_(wanted))
    )
    return {row.id: _Target(State(row.state), _last(row.telegram_message_ids)) for row in found}


@dataclass(frozen=True, slots=True)
class _Target:
    state: State
    telegram_message_id: int | None


def _edited(targets: Mapping[str, "_Target"], row: Any) -> int | None:
    """Telegram's id of the message that a row edits; None where it is sent."""
    target = targets.get(row.edits) if row.edits else None
    return target.telegram_message_id if target else None


def _last(ids: str) -> int | None:
    return int(ids.rpartition(",")[2]) if ids else None


def _claimed(row: Any, now: float, limiter_wait: float, number: int, edits: int | None = None) -> Claimed:
    trace = TraceContext.parse(row.traceparent)
    assert trace is not None, row.traceparent  # noqa: S101 - we wrote it ourselves
    ids = row.telegram_message_ids
    return Claimed(
        seq=row.seq,
        id=row.id,
        event_id=row.event_id,
        event_type=row.type,
        category=row.category,
        source=row.source,
        title=row.title,
        body=row.body,
        correlation_id=row.correlation_id,
        trace=trace,
        bot=row.bot,
        chat_id=row.chat_id,
        thread_id=row.thread_id,
        lane=Lane(row.lane),
        silent=row.silent,
        on_unknown=UnknownPolicy(row.on_unknown),
        accepted_at=row.accepted_at,
        due_at=row.due_at,
        expires_at=row.expires_at,
        claimed_at=now,
        limiter_wait=limiter_wait,
        attempt=number,
        retries=row.retries,
        part=row.part,
        possible_duplicate=row.possible_duplicate,
        plain=row.plain,
        telegram_message_ids=tuple(int(i) for i in ids.split(",")) if ids else (),
        severity=row.severity,
        edits=edits,
        resends=row.resends,
    )


def _open_attempts(connection: Connection, messages: Sequence[Claimed]) -> None:
    """On disk before the call, so that a crash leaves a trace of what may have been sent."""
    if not messages:
        return
    connection.execute(_SENDING, {"seqs": [m.seq for m in messages]})
    connection.execute(
        insert(attempt),
        [
            {
                "message_seq": m.seq,
                "number": m.attempt,
                "part": m.part,
                "claimed_at": m.claimed_at,
                "limiter_wait": m.limiter_wait,
            }
            for m in messages
        ],
    )


_SENDING = (
    update(message)
    .where(message.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(state=State.SENDING.value, attempts=message.c.attempts + 1)
)
