"""The queue of chats: adds chats to it, and releases leased chats with the time of their next claim.

A chat is in the queue while its row has ``next_at``. A claim takes it out by a lease; the release puts
it back, if a message waits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import Connection, update

from services.kit.database.json_rows import Row, Statement
from services.outbox.chats import chat_heads
from services.outbox.chats.chat_heads import ChatRow, Head
from services.outbox.rate_limit.limits import ChatTokens
from services.outbox.schema import chat

#: A lost worker's chats are taken over after this; a living worker renews its leases long before.
LEASE_SECONDS = 30.0

#: A chat: the name of the bot, and the chat's id.
ChatKey = tuple[str, int]


def add(
    connection: Connection,
    chats: Mapping[ChatKey, tuple[float, int]],
    clients: Mapping[ChatKey, str] | None = None,
) -> None:
    """Adds chats to the queue; a chat that is in it keeps the earlier time and the more urgent lane.

    A leased chat is not changed: its release reads the waiting messages.

    Args:
        connection: in a transaction.
        chats: when each can be claimed, seconds since the epoch, and for which lane.
        clients: who posted the waiting messages; unset: a client without a name.
    """
    named = clients or {}
    # In one order everywhere: two transactions that touch the same chats must not deadlock.
    rows = [(*key, at, lane, named.get(key, "")) for key, (at, lane) in sorted(chats.items())]
    _ADD.run(connection, rows)


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
_ADD = Statement(
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


def release(
    connection: Connection,
    bot: str,
    owner: str,
    chat_ids: Iterable[int],
    *,
    now: float,
    pace: Callable[[ChatRow], ChatTokens],
) -> None:
    """Ends leases; a chat with waiting messages is queued again, as soon as Telegram's rate allows.

    The rows are locked first and read after: an enqueue that was just committed is seen, and a later
    one finds a chat without a lease.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: whose leases; a chat that another worker has leased is left alone.
        chat_ids: which chats.
        now: seconds since the epoch.
        pace: a chat's tokens after what was sent to it.
    """
    given = [(chat_id,) for chat_id in sorted(chat_ids)]
    mine = _MINE.run(connection, given, bot=bot, owner=owner).scalars().all() if given else []
    if not mine:
        return
    rows = [
        (row, chat_heads.first_of(chat_heads.heads_of(row), now))
        for row in chat_heads.read(connection, bot, mine)
    ]
    clients = _clients(connection, [first.seq for _, first in rows if first])
    released = [
        _released(bot, row, pace(row), first, clients[first.seq] if first else "", now=now)
        for row, first in rows
    ]
    _RELEASE.run(connection, released)


def park(connection: Connection, bot: str, owner: str, chat_id: int, until: float) -> None:
    """Ends a lease without a look at the chat's messages; it is claimed again at a time.

    Args:
        connection: in a transaction.
        bot: whose chat.
        owner: whose lease; a chat that another worker has leased is left alone.
        chat_id: which chat.
        until: seconds since the epoch.
    """
    here = (chat.c.bot == bot, chat.c.chat_id == chat_id, chat.c.owner == owner)
    connection.execute(update(chat).where(*here).values(owner=None, lease_until=0.0, next_at=until))


def _released(
    bot: str, row: ChatRow, pace: ChatTokens, first: Head | None, client: str, *, now: float
) -> Row:
    next_at, lane = chat_heads.next_claim(first, now, pace.open_at)
    tokens = (pace.tokens, pace.group_tokens, pace.sent_at, pace.open_at)
    return (bot, row["chat_id"], next_at, lane, client, *tokens)


def _clients(connection: Connection, seqs: Sequence[int]) -> dict[int, str]:
    """The clients that posted these messages."""
    if not seqs:
        return {}
    return {row.seq: row.client for row in _CLIENTS.run(connection, [(seq,) for seq in seqs]).all()}


def pace_of(row: ChatRow) -> ChatTokens:
    """The chat's tokens as they are stored."""
    return ChatTokens(row["tokens"], row["group_tokens"], row["sent_at"], row["open_at"])


_MINE = Statement(
    "SELECT chat.chat_id FROM chat WHERE chat.bot = :bot AND chat.chat_id {among} AND chat.owner = :owner"
    " ORDER BY chat.chat_id {lock}",
    chat_id="bigint",
)
_CLIENTS = Statement(
    """
    SELECT message.seq, event.client FROM message JOIN event ON event.id = message.event_id
    WHERE message.seq {among}
    """,
    seq="bigint",
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
