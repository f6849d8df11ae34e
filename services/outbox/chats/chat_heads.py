"""Heads: the message of a chat that is next in each lane, and which of them goes first.

Reading is SQL; :func:`heads_of`, :func:`choose`, :func:`first_of` and :func:`next_claim` are pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from services.kit.database.json_rows import Statement
from services.outbox.messages import AT_ONCE, Lane, MessageState, is_continuation, is_scheduled
from services.outbox.schema import IS_CONTINUATION, IS_SCHEDULED

#: A row of the table ``chat`` with the next message of each lane; :func:`heads_of` reads the latter.
ChatRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The next message of one lane of a chat.

    Args:
        lane: number of the lane.
        seq: number of the message.
        due_at: see :func:`services.outbox.messages.is_scheduled`.
    """

    lane: int
    seq: int
    due_at: float


def heads_of(row: ChatRow) -> list[Head]:
    """The next messages of each lane. A message that waits for its retry blocks its lane: order holds."""
    if "only_seq" in row:
        only = row["only_seq"]
        return [] if only is None else [Head(row["only_lane"], only, _time(row["only_due"]))]
    found = []
    for lane, retry, others in _HEAD_NAMES:
        for seq, due in [retry] if row[retry[0]] is not None else others:
            if row[seq] is not None:
                found.append(Head(lane, row[seq], _time(row[due])))
    return found


def _time(due_at: Any) -> float:
    """SQLite stores any type: a message whose time is none must not hold up those behind it."""
    return due_at if isinstance(due_at, int | float) else AT_ONCE


def choose(heads: Iterable[Head], now: float) -> Head | None:
    """The message that goes now: a continuation, else the due message of the most urgent lane.

    Within a lane a scheduled message that is due goes before unscheduled ones: an endless stream of
    these would block it.
    """
    due = [head for head in heads if head.due_at <= now]
    if len(due) < 2:  # noqa: PLR2004 - no choice; most chats have but one message waiting
        return due[0] if due else None
    return min(due, key=_priority)


def _priority(head: Head) -> tuple[bool, int, bool]:
    return not is_continuation(head.due_at), head.lane, not is_scheduled(head.due_at)


def first_of(heads: Sequence[Head], now: float) -> Head | None:
    """The message that goes now, else the one that is due first."""
    if not heads:
        return None
    return choose(heads, now) or min(heads, key=lambda head: head.due_at)


def next_claim(first: Head | None, now: float, open_at: float) -> tuple[float | None, int]:
    """When the chat can be claimed again, and for which lane; no time while nothing waits.

    Args:
        first: of :func:`first_of`.
        now: seconds since the epoch.
        open_at: when Telegram's rate allows the next message to the chat.
    """
    if first is None:
        return None, _NORMAL
    # Unscheduled messages count from now: chats that are ready are ordered by how long they have been.
    return max(open_at, first.due_at if is_scheduled(first.due_at) else now), first.lane


_NORMAL = int(Lane.NORMAL)


def read(connection: Connection, bot: str, chat_ids: Iterable[int]) -> list[ChatRow]:
    """The rows of chats with the next message of each lane, in the order of the chats' ids."""
    rows = _rows(connection, _SHORT_ROWS, bot, chat_ids)
    # In most chats the first waiting message is the next: the lanes are read where there is a choice.
    several = [row["chat_id"] for row in rows if row["other"] is not None or row["retrying"] is not None]
    if not several:
        return rows
    full = {row["chat_id"]: row for row in _rows(connection, _ROWS, bot, several)}
    return [full.get(row["chat_id"], row) for row in rows]


def _rows(connection: Connection, query: Statement, bot: str, chat_ids: Iterable[int]) -> list[ChatRow]:
    found = query.run(connection, [(chat_id,) for chat_id in sorted(chat_ids)], bot=bot)
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found.all()]


_HERE = "message.bot = chat.bot AND message.chat_id = chat.chat_id"
_QUEUED = f"{_HERE} AND message.state = '{MessageState.QUEUED.value}'"
_RETRYING = f"{_HERE} AND message.state = '{MessageState.RETRY_WAIT.value}'"
#: What can be next in a lane, by the condition that finds it.
_KINDS = {"retry": _RETRYING, "queued": _QUEUED, "scheduled": f"{_QUEUED} AND message.{IS_SCHEDULED}"}


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


def _names(lane: int, kind: str) -> tuple[str, str]:
    return f"seq_{lane}_{kind}", f"due_{lane}_{kind}"


_HEAD_NAMES = [
    (lane, _names(lane, "retry"), [_names(lane, "queued"), _names(lane, "scheduled")])
    for lane in map(int, Lane)
]
_CHAT = (
    "chat.chat_id, chat.tokens, chat.group_tokens, chat.sent_at, chat.open_at,"
    " chat.blocked, chat.migrated_to, chat.muted_until, chat.settings"
)
_GIVEN = "chat.bot = :bot AND chat.chat_id {among}"
#: Exceptions to the order of lanes and numbers: continuations and scheduled messages.
_EXCEPTIONS = ", ".join(
    f"(SELECT message.seq FROM message WHERE {_QUEUED}"  # noqa: S608 - constants
    f" AND message.lane = {lane} AND message.{condition} LIMIT 1)"
    for lane in map(int, Lane)
    for condition in (IS_CONTINUATION, IS_SCHEDULED)
)
_SHORT_ROWS = Statement(
    f"""
    SELECT {_CHAT},
      head.seq AS only_seq, head.lane AS only_lane, head.due_at AS only_due,
      CASE WHEN {_first(after=1)} IS NOT NULL THEN coalesce({_EXCEPTIONS}) END AS other,
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
