"""Stores the code, and the chat and person that it chose."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from services.bridge.first_chat.schema import first_chat
from services.kit.database.connect import upsert

_ONLY = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """The code, and what it chose; None: nothing yet.

    Args:
        code: that a person writes to the bot.
        chat_id: the chat in which it was written.
        user_id: the person.
    """

    code: str
    chat_id: int | None = None
    user_id: int | None = None


def offer(connection: Connection, new_code: str) -> Offer:
    """The stored offer; stores one with this code if there is none."""
    statement = upsert(connection, first_chat).values(id=_ONLY, code=new_code)
    connection.execute(statement.on_conflict_do_nothing())
    found = read(connection)
    assert found is not None  # noqa: S101 - it was stored above
    return found


def read(connection: Connection) -> Offer | None:
    """The stored offer."""
    columns = first_chat.c
    row = connection.execute(
        select(columns.code, columns.chat_id, columns.user_id).where(columns.id == _ONLY)
    ).first()
    return None if row is None else Offer(*row)


def choose(connection: Connection, code: str, *, chat_id: int, user_id: int, now: float) -> bool:
    """Stores the chat and the person; returns whether the code is the offered one and was not used before."""
    columns = first_chat.c
    unused = (columns.id == _ONLY, columns.code == code, columns.chat_id.is_(None))
    chosen = update(first_chat).where(*unused).values(chat_id=chat_id, user_id=user_id, chosen_at=now)
    return connection.execute(chosen).rowcount == 1
