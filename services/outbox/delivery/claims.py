"""Claim: how a worker takes the next message of each chat that is ready.

A claim leases chats, one message of each. While a chat is leased nobody else sends to it, so the
order holds, and the chat's own rate can live in its row. The functions run inside one
transaction; none stays open across a call to Telegram.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, text

from services.kit.database.json_rows import Statement
from services.outbox import change_feed
from services.outbox.chats import chat_queue, chat_state
from services.outbox.chats.chat_queue import ChatRow
from services.outbox.delivery import claimed_rows
from services.outbox.delivery.fair_queue import Turns
from services.outbox.intake import update_keys
from services.outbox.messages import (
    Claimed,
    Decision,
    Lane,
    Outcome,
    Reason,
    Result,
    Settled,
    State,
)
from services.outbox.rate_limit.bot_rate_limiter import NOT_LIMITED, LimitedSince
from services.outbox.schema import message

#: Whether a muted chat does without this message.
Mutes = Callable[[Claimed], bool]


@dataclass(frozen=True, slots=True)
class Hold:
    """How a chat's people want a message now.

    Args:
        until: when they want it, seconds since the epoch; None: now, without a sound.
        cause: for people.
    """

    until: float | None
    cause: str


#: Asked for a message, its chat's settings and the time; None: it goes as it is.
Holds = Callable[[Claimed, str, float], Hold | None]
#: Messages of a chat that are held at once: a transaction stays short.
HELD_AT_ONCE = 200


def never(_message: Claimed, _settings: str, _now: float) -> Hold | None:
    """Every message goes as it is."""
    return None


def not_urgent(message: Claimed) -> bool:
    return message.lane is not Lane.URGENT


@dataclass(frozen=True, slots=True)
class Batch:
    """What was claimed; where that is nothing, when the next chat has its turn.

    Args:
        messages: to be sent and settled.
        next_at: the next turn.
        ended: what ended instead of being tried, as it is written now.
    """

    messages: list[Claimed]
    next_at: float | None = None
    ended: Sequence[Settled] = ()


def claim(
    connection: Connection,
    bot: str,
    owner: str,
    limit: int,
    *,
    now: float,
    paced_since: LimitedSince = NOT_LIMITED,
    mutes: Mutes = not_urgent,
    turns: Turns | None = None,
    holds: Holds = never,
    paid: int = 0,
) -> Batch:
    """Leases up to ``limit`` chats that are ready and opens an attempt for the next message of each.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: this worker.
        limit: how many may be sent now.
        now: seconds since the epoch.
        paced_since: since when the bot's own rate has held messages up.
        mutes: which messages a muted chat does not get.
        turns: the clients' clocks of this worker; unset: all are even.
        holds: how the chats' people want a message now.
        paid: how many more may be sent now of the bulk lane.
    """
    waiting = [
        (Lane(row.lane), row.client, row.next_at) for row in connection.execute(_WAITING, {"bot": bot})
    ]
    ready = _ready(connection, bot, limit, waiting, turns=turns or Turns(), now=now, paid=paid)
    _lease(connection, bot, owner, ready, now)
    if not ready:
        return Batch([], min((next_at for _, _, next_at in waiting), default=None))
    rows = {row["chat_id"]: row for row in chat_queue.heads(connection, bot, ready)}
    refusing = {chat_id for chat_id, row in rows.items() if row["blocked"] or row["migrated_to"]}
    ended = [s for chat_id in refusing for s in _set_right(connection, bot, rows[chat_id], now)]
    picked = [
        chat_queue.choose(chat_queue.heads_of(rows[chat_id]), now) for chat_id in rows.keys() - refusing
    ]
    messages, baseless = claimed_rows.load(
        connection, [head.seq for head in picked if head], rows, now, paced_since
    )
    anew, never_sent = update_keys.begin_anew(connection, baseless, now)
    messages += anew
    expired = [m for m in messages if m.expires_at is not None and m.expires_at <= now]
    muted = [m for m in messages if m not in expired and _is_muted(rows[m.chat_id], now) and mutes(m)]
    for those, state, reason, cause in (
        (never_sent, State.SUPPRESSED, Reason.NEVER_SENT, "the message that it edits was never sent"),
        (expired, State.EXPIRED, Reason.EXPIRED, "expires_at has passed"),
        (muted, State.SUPPRESSED, Reason.MUTED, "muted"),
    ):
        chat_queue.finish(connection, [m.seq for m in those], state, reason, cause=cause, now=now)
        ended.extend(_ended(m, state, reason, now) for m in those)
    live = [m for m in messages if m not in expired and m not in muted]
    live = [wanted for m in live if (wanted := _as_wanted(connection, m, rows[m.chat_id], holds, now))]
    _open_attempts(connection, live, now)
    given_back = set(ready) - {m.chat_id for m in live}
    chat_queue.release(connection, bot, owner, given_back, now=now, pace=chat_queue.pace_of)
    return Batch(live, now, ended)


def _ended(m: Claimed, state: State, reason: Reason, now: float) -> Settled:
    """A message that ends without being tried, told as those that were."""
    result = Result(Outcome.NOT_SENT, reason, now, now)
    decision = Decision(state, 0.0, m.retries, m.part, m.possible_duplicate, m.plain, resends=m.resends)
    return Settled(m, result, decision, attempted=False)


def _as_wanted(connection: Connection, m: Claimed, row: ChatRow, holds: Holds, now: float) -> Claimed | None:
    """The message as its chat wants it now; None: it is held, with what waits behind it."""
    settings = row["settings"]
    # The rest of a message in parts goes on: half of one is of no use.
    held = holds(m, settings, now) if settings and m.part == 0 else None
    if held is None:
        return m
    state = State.RETRY_WAIT if m.due_at > 0 and m.attempt > 1 else State.QUEUED
    if held.until is None:
        if m.attempt == 1:
            chat_state.note(connection, [(m.seq, state)], held.cause, now)
        return replace(m, silent=True)
    if held.until <= now:
        return m
    also = [
        (other.seq, State.QUEUED)
        for other in _behind(connection, m, now)
        if holds(other, settings, now) == held and other.part == 0
    ]
    chat_state.hold(connection, [(m.seq, state), *also], held.until, held.cause, now)
    return None


def _behind(connection: Connection, m: Claimed, now: float) -> list[Claimed]:
    """What waits in the same lane of the chat and is due."""
    query = (
        claimed_rows.MESSAGES.where(
            message.c.bot == m.bot,
            message.c.chat_id == m.chat_id,
            message.c.lane == int(m.lane),
            message.c.state == State.QUEUED.value,
            message.c.due_at <= now,
            message.c.seq != m.seq,
        )
        .order_by(message.c.due_at, message.c.seq)
        .limit(HELD_AT_ONCE)
    )
    return [claimed_rows.claimed(row, now, 0.0, row.attempts) for row in connection.execute(query)]


def _is_muted(row: ChatRow, now: float) -> bool:
    until = row["muted_until"]
    return until is not None and until > now


def _set_right(connection: Connection, bot: str, row: ChatRow, now: float) -> list[Settled]:
    """A chat that nothing can be sent to: its messages move with it, or end."""
    if row["migrated_to"]:
        chat_state.move(connection, bot, row["chat_id"], row["migrated_to"], now)
        return []
    reason = Reason(row["blocked"])
    seqs = chat_state.suppress(connection, bot, row["chat_id"], reason, now)
    found = claimed_rows.by_seq(connection, seqs) if seqs else []
    return [
        _ended(claimed_rows.claimed(one, now, 0.0, one.attempts), State.SUPPRESSED, reason, now)
        for one in found
    ]


_Waiting = Sequence[tuple[Lane, str, float]]


def _ready(
    connection: Connection, bot: str, limit: int, waiting: _Waiting, *, turns: Turns, now: float, paid: int
) -> list[int]:
    """Locks up to ``limit`` chats that have their turn: urgent lanes first, in each lane by clients.

    ``paid`` more are of the bulk lane.
    """
    ready: list[int] = []
    for lane in Lane:
        clients = {client for its, client, next_at in waiting if its == lane and next_at <= now}
        if not clients:
            turns.rest(lane)
        elif (room := limit + (paid if lane is Lane.BULK else 0) - len(ready)) > 0:
            ready.extend(_take(connection, bot, lane, clients, room, turns=turns, now=now))
    return ready


def _lease(connection: Connection, bot: str, owner: str, ready: Sequence[int], now: float) -> None:
    if ready:
        until = now + chat_queue.LEASE_SECONDS
        _LEASE.run(connection, [(chat_id,) for chat_id in ready], bot=bot, owner=owner, until=until)


def _take(
    connection: Connection, bot: str, lane: Lane, clients: set[str], room: int, *, turns: Turns, now: float
) -> list[int]:
    """Locks chats that are ready in a lane, by the turns of their clients."""
    wanted: dict[str, Any] = {"bot": bot, "lane": int(lane), "now": now}
    taken: list[int] = []
    while clients and len(taken) < room:
        numbers: dict[str, int] = {}
        for client, share in turns.shares(lane, clients, room - len(taken)).items():
            # Those taken in an earlier round are still there: nothing is leased yet.
            but = [(chat_id,) for chat_id in taken]
            found = _READY.run(connection, but, client=client, room=share, **wanted).scalars().all()
            numbers[client] = len(found)
            taken.extend(found)
            if len(found) < share:
                clients = clients - {client}
        turns.served(lane, numbers)
    return taken


# By two looks into the index for each lane and client that has something waiting, however much it
# is: on from a group's first row to the next client's in the lane, else to the next lane's. (Told as
# two, for SQLite reads a comparison of pairs row by row.)
_WAITING = text("""
WITH RECURSIVE waiting (lane, client, next_at) AS (
  SELECT * FROM (
    SELECT lane, client, next_at FROM chat
    WHERE bot = :bot AND next_at IS NOT NULL
    ORDER BY lane, client, next_at LIMIT 1
  ) AS first
  UNION ALL
  SELECT chat.lane, chat.client, chat.next_at
  FROM waiting JOIN chat ON chat.bot = :bot AND chat.chat_id = coalesce(
    (
      SELECT other.chat_id FROM chat AS other
      WHERE other.bot = :bot AND other.next_at IS NOT NULL
        AND other.lane = waiting.lane AND other.client > waiting.client
      ORDER BY other.client, other.next_at LIMIT 1
    ),
    (
      SELECT other.chat_id FROM chat AS other
      WHERE other.bot = :bot AND other.next_at IS NOT NULL AND other.lane > waiting.lane
      ORDER BY other.lane, other.client, other.next_at LIMIT 1
    )
  )
)
SELECT lane, client, next_at FROM waiting
""")
_READY = Statement(
    """
    SELECT chat.chat_id FROM chat
    WHERE chat.bot = :bot AND chat.lane = :lane AND chat.client = :client AND chat.next_at <= :now
      AND NOT chat.chat_id {among}
    ORDER BY chat.next_at LIMIT :room {skip_locked}
    """,
    chat_id="bigint",
)
_LEASE = Statement(
    """
    UPDATE chat SET owner = :owner, lease_until = :until, next_at = NULL
    WHERE bot = :bot AND chat_id {among}
    """,
    chat_id="bigint",
)


def _open_attempts(connection: Connection, messages: Sequence[Claimed], now: float) -> None:
    """On disk before the call, so that a crash leaves a trace of what may have been sent."""
    if not messages:
        return
    _SENDING.run(connection, [(m.seq,) for m in messages])
    _OPEN.run(connection, [(m.seq, m.attempt, m.part, m.claimed_at, m.limiter_wait) for m in messages])
    change_feed.write(connection, [(m.seq, State.SENDING, m.attempt, "") for m in messages], now)


_SENDING = Statement(
    f"UPDATE message SET state = '{State.SENDING.value}', attempts = attempts + 1"  # noqa: S608 - a constant
    " WHERE seq {among}",
    seq="bigint",
)
_OPEN = Statement(
    """
    INSERT INTO attempt (message_seq, number, part, claimed_at, limiter_wait)
    SELECT given.seq, given.number, given.part, given.claimed_at, given.limiter_wait FROM {given}
    """,
    seq="bigint",
    number="integer",
    part="integer",
    claimed_at="double precision",
    limiter_wait="double precision",
)
