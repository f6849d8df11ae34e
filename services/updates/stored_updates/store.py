"""Updates in the database: each is stored once and handled once. Also the Bot API calls that follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, delete, literal_column, select, update

from services.kit.database.connect import upsert
from services.updates import parse
from services.updates.stored_updates.schema import telegram_update

CHANNEL = "telegram_updates"
#: Telegram's ids continue for a week; a repeated update is recognised for longer than that.
RETENTION_SECONDS = 8 * 86_400.0


class UpdateState(StrEnum):
    """State of a stored update."""

    STORED = "stored"  #: not handled yet
    CALLS_PENDING = "chores"  #: handled; calls to the Bot API remain
    HANDLED = "handled"
    FAILED = "failed"  #: handling failed repeatedly; the row has the error


@dataclass(frozen=True, slots=True)
class StoredUpdate:
    """An update that is not handled yet."""

    seq: int
    bot: str
    update_id: int
    kind: str
    body: str
    received_at: float
    tries: int


@dataclass(frozen=True, slots=True)
class BotCall:
    """A call to the Bot API that follows from an update."""

    method: str
    data: dict[str, Any]


def add(connection: Connection, bot: str, updates: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    """Stores updates; returns the kinds of those that were not stored before."""
    if not updates:
        return []
    rows = [
        {
            "bot": bot,
            "update_id": int(one["update_id"]),
            "kind": parse.kind_of(one),
            "body": orjson.dumps(one).decode(),
            "received_at": now,
            "state": UpdateState.STORED.value,
            "tries": 0,
        }
        for one in updates
    ]
    statement = upsert(connection, telegram_update).values(rows).on_conflict_do_nothing()
    return [row.kind for row in connection.execute(statement.returning(telegram_update.c.kind))]


def _is(state: UpdateState) -> ColumnElement[bool]:
    # A literal: neither database uses a partial index for a parameter, whose value it does not know.
    return telegram_update.c.state == literal_column(f"'{state.value}'")


def not_handled(connection: Connection, bot: str, limit: int) -> list[StoredUpdate]:
    """The next updates of a bot to handle, in the order of arrival."""
    t = telegram_update.c
    columns = (t.seq, t.bot, t.update_id, t.kind, t.body, t.received_at, t.tries)
    query = select(*columns).where(t.bot == bot, _is(UpdateState.STORED)).order_by(t.seq).limit(limit)
    return [StoredUpdate(*row) for row in connection.execute(query)]


def mark_handled(connection: Connection, seq: int, now: float) -> bool:
    """Marks an update as handled; call it first in the transaction. False if it was handled before."""
    done = connection.execute(
        update(telegram_update)
        .where(telegram_update.c.seq == seq, _is(UpdateState.STORED))
        .values(state=UpdateState.HANDLED.value, handled_at=now)
    )
    return done.rowcount == 1


def record_failure(connection: Connection, seq: int, error: str, *, final: bool) -> None:
    """Stores that handling an update failed; ``final``: it is not tried again."""
    connection.execute(
        update(telegram_update)
        .where(telegram_update.c.seq == seq, _is(UpdateState.STORED))
        .values(
            tries=telegram_update.c.tries + 1,
            error=error,
            state=(UpdateState.FAILED if final else UpdateState.STORED).value,
        )
    )


def add_bot_calls(connection: Connection, seq: int, calls: Sequence[BotCall]) -> None:
    """Stores the Bot API calls that follow from an update, in the transaction that handles it."""
    if not calls:
        return
    written = orjson.dumps([{"method": call.method, "data": call.data} for call in calls]).decode()
    connection.execute(
        update(telegram_update)
        .where(telegram_update.c.seq == seq)
        .values(state=UpdateState.CALLS_PENDING.value, chores=written)
    )


def pending_bot_calls(connection: Connection, bot: str) -> list[tuple[int, float, list[BotCall]]]:
    """Updates whose Bot API calls remain, as (seq, received_at, calls)."""
    t = telegram_update.c
    query = (
        select(t.seq, t.received_at, t.chores)
        .where(t.bot == bot, _is(UpdateState.CALLS_PENDING))
        .order_by(t.seq)
    )
    return [(row.seq, row.received_at, _bot_calls(row.chores)) for row in connection.execute(query)]


def _bot_calls(stored: str) -> list[BotCall]:
    """The calls of an update; none where they cannot be read, so that those of other updates are made."""
    try:
        return [BotCall(one["method"], one["data"]) for one in orjson.loads(stored)]
    except (KeyError, TypeError, ValueError):
        return []


def finish_bot_calls(connection: Connection, seq: int, error: str) -> None:
    """Stores that the calls of an update are done; ``error`` is empty if all succeeded."""
    values = {"state": UpdateState.HANDLED.value, "chores": None, "error": error or None}
    connection.execute(update(telegram_update).where(telegram_update.c.seq == seq).values(**values))


def delete_handled(connection: Connection, before: float) -> int:
    """Deletes handled updates that were received before a time; those that failed stay. Returns how many."""
    deleted = connection.execute(
        delete(telegram_update).where(
            telegram_update.c.received_at < before, telegram_update.c.state == UpdateState.HANDLED.value
        )
    )
    return deleted.rowcount
