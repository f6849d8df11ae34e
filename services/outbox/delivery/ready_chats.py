"""Ready chats: locks the chats that can be claimed, by lane and fair to clients, and leases them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from services.kit.database.json_rows import Statement
from services.outbox.chats import chat_queue
from services.outbox.delivery.fair_queue import FairQueue
from services.outbox.messages import Lane

_LANES = frozenset(map(int, Lane))
#: For each lane and client with queued chats, the time of the first of them.
_Waiting = Sequence[tuple[Lane, str, float]]


def lease(
    connection: Connection,
    bot: str,
    owner: str,
    limit: int,
    *,
    now: float,
    fair_queue: FairQueue,
    paid: int = 0,
) -> tuple[list[int], float | None]:
    """Leases up to ``limit`` chats, urgent lanes first, and ``paid`` further ones of the bulk lane.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: the worker.
        limit: chats of any lane.
        now: seconds since the epoch.
        fair_queue: the clients' clocks of this worker.
        paid: further chats of the bulk lane.

    Returns:
        Their ids; and where there are none, when the next chat can be claimed, if any is queued.
    """
    waiting = [
        (Lane(row.lane), row.client, row.next_at)
        for row in connection.execute(_WAITING, {"bot": bot})
        if row.lane in _LANES
    ]
    chat_ids = _lock(connection, bot, limit, waiting, fair_queue=fair_queue, now=now, paid=paid)
    if not chat_ids:
        return [], min((next_at for _, _, next_at in waiting), default=None)
    until = now + chat_queue.LEASE_SECONDS
    _LEASE.run(connection, [(chat_id,) for chat_id in chat_ids], bot=bot, owner=owner, until=until)
    return chat_ids, None


def _lock(
    connection: Connection,
    bot: str,
    limit: int,
    waiting: _Waiting,
    *,
    fair_queue: FairQueue,
    now: float,
    paid: int,
) -> list[int]:
    locked: list[int] = []
    for lane in Lane:
        clients = {client for its, client, next_at in waiting if its == lane and next_at <= now}
        if not clients:
            fair_queue.reset(lane)
        elif (room := limit + (paid if lane is Lane.BULK else 0) - len(locked)) > 0:
            locked.extend(_lock_lane(connection, bot, lane, clients, room, fair_queue=fair_queue, now=now))
    return locked


def _lock_lane(
    connection: Connection,
    bot: str,
    lane: Lane,
    clients: set[str],
    room: int,
    *,
    fair_queue: FairQueue,
    now: float,
) -> list[int]:
    """Locks ready chats of a lane, in the shares of their clients."""
    parameters: dict[str, Any] = {"bot": bot, "lane": int(lane), "now": now}
    locked: list[int] = []
    while clients and len(locked) < room:
        numbers: dict[str, int] = {}
        for client, share in fair_queue.shares(lane, clients, room - len(locked)).items():
            # Chats of an earlier round are not leased yet, and would be found again.
            but = [(chat_id,) for chat_id in locked]
            found = _READY.run(connection, but, client=client, room=share, **parameters).scalars().all()
            numbers[client] = len(found)
            locked.extend(found)
            if len(found) < share:
                clients = clients - {client}
        fair_queue.served(lane, numbers)
    return locked


# Two looks into the index for each lane and client with queued chats, however many these are: from the
# first row of a group on to the next client in the lane, else to the next lane. (Written as two
# subqueries, because SQLite reads row by row to compare pairs.)
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
