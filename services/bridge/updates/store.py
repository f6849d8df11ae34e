"""Updates in the database: stored once, handled once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, delete, literal_column, select, update

from services.bridge.updates import parse
from services.bridge.updates.schema import telegram_update
from services.kit.database.connect import upsert

CHANNEL = "telegram_updates"
#: Longer than Telegram's ids are continuous: a repeated update is known for as long as it can come.
KEEP_SECONDS = 8 * 86_400.0


class State(StrEnum):
    STORED = "stored"  #: acknowledged or about to be; not acted on
    CHORES = "chores"  #: acted on; small calls to Telegram remain
    HANDLED = "handled"
    FAILED = "failed"  #: acting on it failed again and again; kept with the reason


@dataclass(frozen=True, slots=True)
class Stored:
    """An update that waits to be acted on."""

    seq: int
    bot: str
    update_id: int
    kind: str
    body: str
    received_at: float
    tries: int


@dataclass(frozen=True, slots=True)
class Chore:
    """One call of the Bot API that an update leaves to be done."""

    method: str
    data: dict[str, Any]


def keep(connection: Connection, bot: str, updates: Sequence[dict[str, Any]], now: float) -> list[str]:
    """Stores updates; answers the kinds of those that were not known yet."""
    if not updates:
        return []
    rows = [
        {
            "bot": bot,
            "update_id": int(one["update_id"]),
            "kind": parse.kind_of(one),
            "body": orjson.dumps(one).decode(),
            "received_at": now,
            "state": State.STORED.value,
            "tries": 0,
        }
        for one in updates
    ]
    statement = upsert(connection, telegram_update).values(rows).on_conflict_do_nothing()
    return [row.kind for row in connection.execute(statement.returning(telegram_update.c.kind))]


def _is(state: State) -> ColumnElement[bool]:
    # As a literal: neither database uses a partial index for a parameter it cannot see.
    return telegram_update.c.state == literal_column(f"'{state.value}'")


def waiting(connection: Connection, bot: str, limit: int) -> list[Stored]:
    """Updates to act on, in the order of arrival."""
    t = telegram_update.c
    columns = (t.seq, t.bot, t.update_id, t.kind, t.body, t.received_at, t.tries)
    query = select(*columns).where(t.bot == bot, _is(State.STORED)).order_by(t.seq).limit(limit)
    return [Stored(*row) for row in connection.execute(query)]


def with_chores(connection: Connection, bot: str) -> list[tuple[int, float, list[Chore]]]:
    """Updates whose calls to Telegram remain, as (seq, received_at, calls)."""
    t = telegram_update.c
    query = select(t.seq, t.received_at, t.chores).where(t.bot == bot, _is(State.CHORES)).order_by(t.seq)
    return [(row.seq, row.received_at, _chores(row.chores)) for row in connection.execute(query)]


def _chores(stored: str) -> list[Chore]:
    return [Chore(one["method"], one["data"]) for one in orjson.loads(stored)]


def take(connection: Connection, seq: int, now: float) -> bool:
    """Takes an update as acted on, first in the transaction that acts; false when somebody has already."""
    done = connection.execute(
        update(telegram_update)
        .where(telegram_update.c.seq == seq, _is(State.STORED))
        .values(state=State.HANDLED.value, handled_at=now)
    )
    return done.rowcount == 1


def leave_chores(connection: Connection, seq: int, chores: Sequence[Chore]) -> None:
    """Notes what remains to be done for an update, in the same transaction."""
    if not chores:
        return
    written = orjson.dumps([{"method": c.method, "data": c.data} for c in chores]).decode()
    connection.execute(
        update(telegram_update)
        .where(telegram_update.c.seq == seq)
        .values(state=State.CHORES.value, chores=written)
    )


def chores_done(connection: Connection, seq: int, error: str) -> None:
    values = {"state": State.HANDLED.value, "chores": None, "error": error or None}
    connection.execute(update(telegram_update).where(telegram_update.c.seq == seq).values(**values))


def failed(connection: Connection, seq: int, error: str, *, final: bool) -> None:
    """Notes that acting on an update failed; after several times it is put aside."""
    connection.execute(
        update(telegram_update)
        .where(telegram_update.c.seq == seq, _is(State.STORED))
        .values(
            tries=telegram_update.c.tries + 1,
            error=error,
            state=(State.FAILED if final else State.STORED).value,
        )
    )


def forget(connection: Connection, before: float) -> int:
    """Deletes updates that were acted on long ago."""
    gone = connection.execute(
        delete(telegram_update).where(
            telegram_update.c.received_at < before, telegram_update.c.state == State.HANDLED.value
        )
    )
    return gone.rowcount
