"""Chats as turns: which message of a chat is next, when, and giving a leased chat back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)

from services.kit.db import upsert
from services.outbox import feed
from services.outbox.limiter import ChatPace
from services.outbox.messages import WAITING, Lane, Reason, State
from services.outbox.schema import change, chat, event, message

#: A lost worker's chats are taken over after this; a living one renews long before.
LEASE_SECONDS = 30.0
SUPPRESSED_AT_ONCE = 1_000

#: A row of the table, with the next message of each lane.
ChatRow = Mapping[str, Any]


def _is(state: State) -> ColumnElement[bool]:
    # As a literal: neither database uses a partial index for a parameter it cannot see.
    return message.c.state == literal_column(f"'{state.value}'")


#: What can be next in a lane: its messages, and which of them.
_KINDS: dict[str, tuple[ColumnElement[bool], ...]] = {
    "retry": (_is(State.RETRY_WAIT),),
    "queued": (_is(State.QUEUED),),
    "scheduled": (_is(State.QUEUED), message.c.due_at > literal_column("0")),
}


def _head(lane: Lane, kind: str, column: Any) -> ScalarSelect[Any]:
    """The first message of this kind in a chat's lane, by one look into the index."""
    return (
        select(column)
        .where(
            message.c.bot == chat.c.bot,
            message.c.chat_id == chat.c.chat_id,
            message.c.lane == literal_column(str(int(lane))),
            *_KINDS[kind],
        )
        .order_by(message.c.due_at, message.c.seq)
        .limit(1)
        .scalar_subquery()
    )


_HEAD_COLUMNS = [
    _head(lane, kind, column).label(f"{name}_{int(lane)}_{kind}")
    for lane in Lane
    for kind in _KINDS
    for name, column in (("seq", message.c.seq), ("due", message.c.due_at))
]


@dataclass(frozen=True, slots=True)
class Head:
    """The next message of one lane of a chat."""

    lane: int
    seq: int
    due_at: float


def heads_of(row: ChatRow) -> list[Head]:
    """What can be next in each lane. A message that waits for its retry holds up its lane: order holds."""
    found = []
    for lane, retry, others in _HEAD_NAMES:
        for seq, due in [retry] if row[retry[0]] is not None else others:
            if row[seq] is not None:
                found.append(Head(lane, row[seq], row[due]))
    return found


def _names(lane: int, kind: str) -> tuple[str, str]:
    return f"seq_{lane}_{kind}", f"due_{lane}_{kind}"


_HEAD_NAMES = [
    (lane, _names(lane, "retry"), [_names(lane, "queued"), _names(lane, "scheduled")])
    for lane in map(int, Lane)
]


def choose(heads: Iterable[Head], now: float) -> Head | None:
    """What goes now: the rest of a message in parts, else the most urgent lane that is due.

    In a lane a message whose appointed time has come goes before those for at once: where these
    never end, it would never go.
    """
    due = [head for head in heads if head.due_at <= now]
    return min(due, key=lambda head: (head.due_at >= 0, head.lane, head.due_at <= 0), default=None)


def first_of(heads: Sequence[Head], now: float) -> Head | None:
    """What goes now, else what is due first."""
    return choose(heads, now) or min(heads, key=lambda head: head.due_at, default=None)


def next_turn(heads: Sequence[Head], now: float, open_at: float) -> tuple[float | None, int]:
    """When the chat can be claimed again, and for which lane; None while nothing waits."""
    first = first_of(heads, now)
    if first is None:
        return None, int(Lane.NORMAL)
    # 0 and below mean at once; the row's own clock orders chats that are ready by how long they are.
    return max(open_at, first.due_at if first.due_at > 0 else now), first.lane


def heads(connection: Connection, bot: str, chat_ids: Iterable[int]) -> list[ChatRow]:
    """The chats' rows with the next message of each lane; :func:`heads_of` reads it out."""
    found = connection.execute(_ROWS, {"bot": bot, "ids": sorted(chat_ids)})
    return [dict(row) for row in found.mappings()]


# Statements of the hot path are made once: SQLAlchemy keeps a statement's cache key with it, and
# working out that of a large one costs more than running it.
_ROWS = select(chat, *_HEAD_COLUMNS).where(
    chat.c.bot == bindparam("bot"), chat.c.chat_id.in_(bindparam("ids", expanding=True))
)
_MINE = (
    select(chat.c.chat_id)
    .where(
        chat.c.bot == bindparam("bot"),
        chat.c.chat_id.in_(bindparam("ids", expanding=True)),
        chat.c.owner == bindparam("owner"),
    )
    .order_by(chat.c.chat_id)
    .with_for_update()
)
_RELEASED = (
    "owner",
    "lease_until",
    "next_at",
    "lane",
    "client",
    "tokens",
    "group_tokens",
    "sent_at",
    "open_at",
)
_RELEASE = (
    update(chat)
    .where(chat.c.bot == bindparam("b_bot"), chat.c.chat_id == bindparam("b_chat_id"))
    .values({name: bindparam(name) for name in _RELEASED})
)


def release(
    connection: Connection,
    bot: str,
    owner: str,
    chat_ids: Iterable[int],
    *,
    now: float,
    pace: Callable[[ChatRow], ChatPace],
) -> None:
    """Gives leased chats back: each gets its next turn, from what waits and from Telegram's rate.

    The rows are locked first and read after: an enqueue that was just committed is seen, and one
    that comes later sees a chat that is free.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: who has them; a chat that somebody else has is left alone.
        chat_ids: which.
        now: seconds since the epoch.
        pace: a chat's tokens after what was sent to it.
    """
    mine = connection.execute(_MINE, {"bot": bot, "ids": sorted(chat_ids), "owner": owner}).scalars().all()
    rows = heads(connection, bot, mine) if mine else []
    if rows:
        firsts = {row["chat_id"]: first_of(heads_of(row), now) for row in rows}
        clients = _clients(connection, [head.seq for head in firsts.values() if head])
        released = [
            {"b_bot": bot, "b_chat_id": row["chat_id"], "client": _client(firsts[row["chat_id"]], clients)}
            | _released(row, pace(row), now)
            for row in rows
        ]
        connection.execute(_RELEASE, released)


def _released(row: ChatRow, pace: ChatPace, now: float) -> dict[str, Any]:
    next_at, lane = next_turn(heads_of(row), now, pace.open_at)
    return {
        "owner": None,
        "lease_until": 0.0,
        "next_at": next_at,
        "lane": lane,
        "tokens": pace.tokens,
        "group_tokens": pace.group_tokens,
        "sent_at": pace.sent_at,
        "open_at": pace.open_at,
    }


_CLIENTS = (
    select(message.c.seq, event.c.client)
    .join(event, message.c.event_id == event.c.id)
    .where(message.c.seq.in_(bindparam("seqs", expanding=True)))
)


def _clients(connection: Connection, seqs: Sequence[int]) -> dict[int, str]:
    """Who posted these messages."""
    if not seqs:
        return {}
    return {row.seq: row.client for row in connection.execute(_CLIENTS, {"seqs": sorted(seqs)})}


def _client(head: Head | None, clients: Mapping[int, str]) -> str:
    return clients[head.seq] if head else ""


def pace_of(row: ChatRow) -> ChatPace:
    return ChatPace(row["tokens"], row["group_tokens"], row["sent_at"], row["open_at"])


def finish(
    connection: Connection, seqs: Sequence[int], state: State, reason: Reason, *, cause: str, now: float
) -> None:
    """Ends messages other than by an attempt, and keeps why."""
    if not seqs:
        return
    connection.execute(
        update(message)
        .where(message.c.seq.in_(seqs))
        .values(state=state.value, reason=reason.value, finished_at=now)
    )
    connection.execute(
        insert(change),
        [{"message_seq": seq, "at": now, "state": state.value, "cause": cause} for seq in seqs],
    )
    feed.write(connection, [(seq, state.value, 0, reason.value) for seq in seqs], now)


def move(connection: Connection, bot: str, old: int, new: int, now: float) -> None:
    """A group became a supergroup: what waits for the old id goes to the new one."""
    lane = connection.execute(select(func.min(message.c.lane)).where(*_waiting_for(bot, old))).scalar()
    if lane is None:
        return
    connection.execute(update(message).where(*_waiting_for(bot, old)).values(chat_id=new))
    found = select(chat.c.client, chat.c.settings).where(chat.c.bot == bot, chat.c.chat_id == old)
    kept = connection.execute(found).one()
    give_turns(connection, {(bot, new): (now, lane)}, {(bot, new): kept.client})
    unset = (chat.c.bot == bot, chat.c.chat_id == new, chat.c.settings.is_(None))
    connection.execute(update(chat).where(*unset).values(settings=kept.settings))


def suppress(connection: Connection, bot: str, chat_id: int, reason: Reason, now: float) -> Sequence[int]:
    """Ends what waits for a destination that is known to refuse the bot; answers which messages.

    A portion at a time: a transaction stays short, and a statement has a largest number of parameters.
    The chat gets another turn for the rest.
    """
    query = select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(SUPPRESSED_AT_ONCE)
    waiting = connection.execute(query).scalars().all()
    finish(
        connection,
        waiting,
        State.SUPPRESSED,
        reason,
        cause=f"the destination refuses the bot: {reason.value}",
        now=now,
    )
    return waiting


def block(connection: Connection, bot: str, chat_id: int, reason: Reason) -> None:
    """Notes that the destination refuses the bot, before anything was tried."""
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, blocked=reason.value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"blocked": reason.value}
        )
    )


def revive(connection: Connection, bot: str, chat_id: int, now: float) -> None:
    """The destination takes the bot again: what still waits for it has its turn."""
    here = (chat.c.bot == bot, chat.c.chat_id == chat_id)
    connection.execute(update(chat).where(*here).values(blocked=None))
    waiting = connection.execute(select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(1)).scalar()
    if waiting is not None:
        connection.execute(update(chat).where(*here, chat.c.owner.is_(None)).values(next_at=now))


def hold(
    connection: Connection, waiting: Sequence[tuple[int, State]], until: float, cause: str, now: float
) -> None:
    """Puts messages off to the end of their recipient's quiet hours, and keeps why.

    Args:
        connection: in a transaction.
        waiting: messages, and the states that they are in and stay in.
        until: when they are due then.
        cause: for people.
        now: seconds since the epoch.
    """
    seqs = [seq for seq, _ in waiting]
    connection.execute(update(message).where(message.c.seq.in_(seqs)).values(due_at=until, held=True))
    note(connection, waiting, cause, now)


def note(connection: Connection, waiting: Sequence[tuple[int, State]], cause: str, now: float) -> None:
    """Keeps something that happened to messages and changed no state."""
    rows = [{"message_seq": seq, "at": now, "state": state.value, "cause": cause} for seq, state in waiting]
    connection.execute(insert(change), rows)
    feed.write(connection, [(seq, state.value, 0, cause) for seq, state in waiting], now)


def let_go(connection: Connection, bot: str, chat_id: int, now: float) -> None:
    """What is held in a chat has its turn now: its settings have changed."""
    held = (*_waiting_for(bot, chat_id), message.c.held)
    lane = connection.execute(select(func.min(message.c.lane)).where(*held)).scalar()
    if lane is not None:
        connection.execute(update(message).where(*held).values(due_at=0.0, held=False))
        give_turns(connection, {(bot, chat_id): (now, lane)})


def mute(connection: Connection, bot: str, chat_id: int, until: float | None) -> None:
    """Until when a chat wants nothing but what cannot wait; None: it wants everything."""
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, muted_until=until)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"muted_until": until}
        )
    )


def muted_until(connection: Connection, bot: str, chat_id: int, now: float) -> float | None:
    """When a mute that is in force ends; None where there is none."""
    found = select(chat.c.muted_until).where(chat.c.bot == bot, chat.c.chat_id == chat_id)
    until: float | None = connection.execute(found).scalar()
    return until if until is not None and until > now else None


def _waiting_for(bot: str, chat_id: int) -> tuple[ColumnElement[bool], ...]:
    waits = or_(*(_is(state) for state in WAITING))
    return (message.c.bot == bot, message.c.chat_id == chat_id, waits)


def give_turns(
    connection: Connection,
    turns: Mapping[tuple[str, int], tuple[float, int]],
    clients: Mapping[tuple[str, int], str] | None = None,
) -> None:
    """Gives chats, as (bot, chat), their turn at a time and for a lane, if theirs is not sooner.

    Args:
        connection: in a transaction.
        turns: when, and for which lane.
        clients: who posted what waits there; unset: nobody by name.
    """
    named = clients or {}
    # In one order everywhere: two transactions that touch the same chats must not wait crosswise.
    connection.execute(
        _TAKE_TURN,
        [
            {"bot": of[0], "chat_id": of[1], "next_at": due, "lane": lane, "client": named.get(of, "")}
            for of, (due, lane) in sorted(turns.items())
        ],
    )


# As text: SQLAlchemy compiles its ON CONFLICT anew for every execution, and this one is hot.
# A worker that has the chat looks for what waits, and whose it is, when it gives the chat back.
_TAKE_TURN = text("""
INSERT INTO chat (bot, chat_id, next_at, lane, client, lease_until, tokens, group_tokens, sent_at, open_at)
VALUES (:bot, :chat_id, :next_at, :lane, :client, 0, 0, 0, 0, 0)
ON CONFLICT (bot, chat_id) DO UPDATE SET
  next_at = CASE
    WHEN chat.owner IS NOT NULL THEN NULL
    WHEN chat.next_at IS NOT NULL AND chat.next_at < excluded.next_at
      THEN CASE WHEN chat.open_at > chat.next_at THEN chat.open_at ELSE chat.next_at END
    WHEN chat.open_at > excluded.next_at THEN chat.open_at
    ELSE excluded.next_at END,
  client = CASE
    WHEN chat.next_at IS NOT NULL AND chat.lane <= excluded.lane
      AND (chat.next_at <= excluded.next_at OR chat.next_at <= chat.open_at) THEN chat.client
    ELSE excluded.client END,
  lane = CASE
    WHEN chat.next_at IS NOT NULL AND chat.lane < excluded.lane THEN chat.lane
    ELSE excluded.lane END
""")
