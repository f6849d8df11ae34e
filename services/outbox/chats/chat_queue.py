"""Chats as turns: which message of a chat is next, when, and giving a leased chat back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, literal_column, update

from services.kit.database.json_rows import Row, Statement
from services.outbox import change_feed
from services.outbox.messages import Lane, Reason, State
from services.outbox.rate_limit.limits import ChatTokens
from services.outbox.schema import change, message

#: A lost worker's chats are taken over after this; a living one renews long before.
LEASE_SECONDS = 30.0

#: A row of the table, with the next message of each lane.
ChatRow = Mapping[str, Any]


def in_state(state: State) -> ColumnElement[bool]:
    # As a literal: neither database uses a partial index for a parameter it cannot see.
    return message.c.state == literal_column(f"'{state.value}'")


_HERE = "message.bot = chat.bot AND message.chat_id = chat.chat_id"
_QUEUED = f"{_HERE} AND message.state = '{State.QUEUED.value}'"
_RETRYING = f"{_HERE} AND message.state = '{State.RETRY_WAIT.value}'"
#: What can be next in a lane: its messages, and which of them.
_KINDS = {"retry": _RETRYING, "queued": _QUEUED, "scheduled": f"{_QUEUED} AND message.due_at > 0"}


def _head(lane: int, kind: str, column: str) -> str:
    """The first message of this kind in a chat's lane, by one look into the index."""
    return (
        f"(SELECT {column} FROM message WHERE {_KINDS[kind]} AND message.lane = {lane}"  # noqa: S608 - constants
        " ORDER BY message.due_at, message.seq LIMIT 1)"
    )


def _first(after: int = 0) -> str:
    """The first queued message of a chat, whatever its lane; or the one after it."""
    return (
        f"(SELECT message.seq FROM message WHERE {_QUEUED}"  # noqa: S608 - constants
        f" ORDER BY message.lane, message.due_at, message.seq LIMIT 1 OFFSET {after})"
    )


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
    if len(due) < 2:  # noqa: PLR2004 - no choice; most chats have but one message waiting
        return due[0] if due else None
    return min(due, key=lambda head: (head.due_at >= 0, head.lane, head.due_at <= 0), default=None)


def first_of(heads: Sequence[Head], now: float) -> Head | None:
    """What goes now, else what is due first."""
    if not heads:
        return None
    return choose(heads, now) or min(heads, key=lambda head: head.due_at, default=None)


def next_turn(heads: Sequence[Head], now: float, open_at: float) -> tuple[float | None, int]:
    """When the chat can be claimed again, and for which lane; None while nothing waits."""
    return _turn_of(first_of(heads, now), now, open_at)


def _turn_of(first: Head | None, now: float, open_at: float) -> tuple[float | None, int]:
    if first is None:
        return None, _NORMAL
    # 0 and below mean at once; the row's own clock orders chats that are ready by how long they are.
    return max(open_at, first.due_at if first.due_at > 0 else now), first.lane


_NORMAL = int(Lane.NORMAL)


def heads(connection: Connection, bot: str, chat_ids: Iterable[int]) -> list[ChatRow]:
    """The chats' rows with the next message of each lane; :func:`heads_of` reads it out."""
    rows = _rows(connection, _SHORT_ROWS, bot, chat_ids)
    # In most chats the first of what waits is next: all lanes are looked into where there is a choice.
    several = [row["chat_id"] for row in rows if row["other"] is not None or row["retrying"] is not None]
    if not several:
        return rows
    full = {row["chat_id"]: row for row in _rows(connection, _ROWS, bot, several)}
    return [full.get(row["chat_id"], row) for row in rows]


def _rows(connection: Connection, query: Statement, bot: str, chat_ids: Iterable[int]) -> list[ChatRow]:
    found = query.run(connection, [(chat_id,) for chat_id in sorted(chat_ids)], bot=bot)
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found.all()]


_CHAT = (
    "chat.chat_id, chat.tokens, chat.group_tokens, chat.sent_at, chat.open_at,"
    " chat.blocked, chat.migrated_to, chat.muted_until, chat.settings"
)
_GIVEN = "chat.bot = :bot AND chat.chat_id {among}"
#: What does not go in the order of lanes and numbers: the rest of a message in parts, what has a time.
_APPOINTED = ", ".join(
    f"(SELECT message.seq FROM message WHERE {_QUEUED}"  # noqa: S608 - constants
    f" AND message.lane = {lane} AND message.due_at {sign} 0 LIMIT 1)"
    for lane in map(int, Lane)
    for sign in "<>"
)
_SHORT_ROWS = Statement(
    f"""
    SELECT {_CHAT},
      head.seq AS only_seq, head.lane AS only_lane, head.due_at AS only_due,
      CASE WHEN {_first(after=1)} IS NOT NULL THEN coalesce({_APPOINTED}) END AS other,
      (SELECT message.seq FROM message WHERE {_RETRYING} LIMIT 1) AS retrying
    FROM chat LEFT JOIN message AS head ON head.seq = {_first()}
    WHERE {_GIVEN}
    """,  # noqa: S608 - constants
    chat_id="bigint",
)
_ROWS = Statement(
    f"SELECT {_CHAT}, "  # noqa: S608 - constants
    + ", ".join(
        f"{_head(lane, kind, column)} AS {name}"
        for lane in map(int, Lane)
        for kind in _KINDS
        for name, column in zip(_names(lane, kind), ("message.seq", "message.due_at"), strict=True)
    )
    + f" FROM chat WHERE {_GIVEN}",
    chat_id="bigint",
)
_MINE = Statement(
    f"SELECT chat.chat_id FROM chat WHERE {_GIVEN} AND chat.owner = :owner ORDER BY chat.chat_id {{lock}}",  # noqa: S608 - constants
    chat_id="bigint",
)
_RELEASE = Statement(
    """
    UPDATE chat SET
      owner = NULL, lease_until = 0,
      next_at = given.next_at, lane = given.lane, client = given.client,
      tokens = given.tokens, group_tokens = given.group_tokens,
      sent_at = given.sent_at, open_at = given.open_at
    FROM {given}
    WHERE chat.bot = given.bot AND chat.chat_id = given.chat_id
    """,
    bot="text",
    chat_id="bigint",
    next_at="double precision",
    lane="smallint",
    client="text",
    tokens="double precision",
    group_tokens="double precision",
    sent_at="double precision",
    open_at="double precision",
)


def release(
    connection: Connection,
    bot: str,
    owner: str,
    chat_ids: Iterable[int],
    *,
    now: float,
    pace: Callable[[ChatRow], ChatTokens],
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
    asked = [(chat_id,) for chat_id in sorted(chat_ids)]
    mine = _MINE.run(connection, asked, bot=bot, owner=owner).scalars().all() if asked else []
    if not mine:
        return
    rows = [(row, first_of(heads_of(row), now)) for row in heads(connection, bot, mine)]
    clients = _clients(connection, [first.seq for _, first in rows if first])
    released = [
        _released(bot, row, pace(row), first, clients[first.seq] if first else "", now=now)
        for row, first in rows
    ]
    _RELEASE.run(connection, released)


def _released(
    bot: str, row: ChatRow, pace: ChatTokens, first: Head | None, client: str, *, now: float
) -> Row:
    next_at, lane = _turn_of(first, now, pace.open_at)
    tokens = (pace.tokens, pace.group_tokens, pace.sent_at, pace.open_at)
    return (bot, row["chat_id"], next_at, lane, client, *tokens)


_CLIENTS = Statement(
    """
    SELECT message.seq, event.client FROM message JOIN event ON event.id = message.event_id
    WHERE message.seq {among}
    """,
    seq="bigint",
)


def _clients(connection: Connection, seqs: Sequence[int]) -> dict[int, str]:
    """Who posted these messages."""
    if not seqs:
        return {}
    return {row.seq: row.client for row in _CLIENTS.run(connection, [(seq,) for seq in seqs]).all()}


def pace_of(row: ChatRow) -> ChatTokens:
    return ChatTokens(row["tokens"], row["group_tokens"], row["sent_at"], row["open_at"])


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
    change_feed.write(connection, [(seq, state.value, 0, reason.value) for seq in seqs], now)


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
    rows = [(*of, due, lane, named.get(of, "")) for of, (due, lane) in sorted(turns.items())]
    _TAKE_TURN.run(connection, rows)


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
_TAKE_TURN = Statement(
    f"""
    INSERT INTO chat (
      bot, chat_id, next_at, lane, client, lease_until, tokens, group_tokens, sent_at, open_at)
    SELECT given.bot, given.chat_id, given.next_at, given.lane, given.client, 0, 0, 0, 0, 0 FROM {{given}}
    WHERE true ORDER BY given.bot, given.chat_id
    {UNLESS_SOONER}
    """,  # noqa: S608 - constants
    bot="text",
    chat_id="bigint",
    next_at="double precision",
    lane="smallint",
    client="text",
)
