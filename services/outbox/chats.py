"""Chats as turns: which message of a chat is next, when, and giving a leased chat back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    bindparam,
    insert,
    literal_column,
    select,
    text,
    update,
)

from services.outbox import feed
from services.outbox.limiter import ChatPace
from services.outbox.messages import Lane, Reason, State
from services.outbox.schema import change, chat, event, message

#: A lost worker's chats are taken over after this; a living one renews long before.
LEASE_SECONDS = 30.0

#: A row of the table, with the next message of each lane.
ChatRow = Mapping[str, Any]


def in_state(state: State) -> ColumnElement[bool]:
    # As a literal: neither database uses a partial index for a parameter it cannot see.
    return message.c.state == literal_column(f"'{state.value}'")


#: What can be next in a lane: its messages, and which of them.
_KINDS: dict[str, tuple[ColumnElement[bool], ...]] = {
    "retry": (in_state(State.RETRY_WAIT),),
    "queued": (in_state(State.QUEUED),),
    "scheduled": (in_state(State.QUEUED), message.c.due_at > literal_column("0")),
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


def _first(column: Any, *, after: int = 0) -> ScalarSelect[Any]:
    """The first queued message of a chat, whatever its lane; or the one after it."""
    return (
        select(column)
        .where(message.c.bot == chat.c.bot, message.c.chat_id == chat.c.chat_id, in_state(State.QUEUED))
        .order_by(message.c.lane, message.c.due_at, message.c.seq)
        .limit(1)
        .offset(after)
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
    if "only_seq" in row:
        return [] if row["only_seq"] is None else [Head(row["only_lane"], row["only_seq"], row["only_due"])]
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
    rows = _rows(connection, _SHORT_ROWS, bot, chat_ids)
    # Most chats have no more than one message waiting: all lanes are looked into where there are several.
    several = [row["chat_id"] for row in rows if row["second"] is not None or row["retrying"] is not None]
    if not several:
        return rows
    full = {row["chat_id"]: row for row in _rows(connection, _ROWS, bot, several)}
    return [full.get(row["chat_id"], row) for row in rows]


def _rows(connection: Connection, query: Any, bot: str, chat_ids: Iterable[int]) -> list[ChatRow]:
    found = connection.execute(query, {"bot": bot, "ids": sorted(chat_ids)})
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found]


# Statements of the hot path are made once: SQLAlchemy keeps a statement's cache key with it, and
# working out that of a large one costs more than running it.
_ROWS = select(chat, *_HEAD_COLUMNS).where(
    chat.c.bot == bindparam("bot"), chat.c.chat_id.in_(bindparam("ids", expanding=True))
)
_SHORT_ROWS = select(
    chat,
    _first(message.c.seq).label("only_seq"),
    _first(message.c.lane).label("only_lane"),
    _first(message.c.due_at).label("only_due"),
    _first(message.c.seq, after=1).label("second"),
    select(message.c.seq)
    .where(message.c.bot == chat.c.bot, message.c.chat_id == chat.c.chat_id, in_state(State.RETRY_WAIT))
    .limit(1)
    .scalar_subquery()
    .label("retrying"),
).where(chat.c.bot == bindparam("bot"), chat.c.chat_id.in_(bindparam("ids", expanding=True)))
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
UNLESS_SOONER = """
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
"""
_TURN = """
INSERT INTO chat (bot, chat_id, next_at, lane, client, lease_until, tokens, group_tokens, sent_at, open_at)
VALUES (:bot, :chat_id, :next_at, :lane, :client, 0, 0, 0, 0, 0)
"""
_TAKE_TURN = text(_TURN + UNLESS_SOONER)
