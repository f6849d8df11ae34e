"""What becomes of a chat as a destination: it moves, refuses the bot, comes back, is muted."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from services.kit.db import upsert
from services.outbox import chats
from services.outbox.messages import WAITING, Reason, State
from services.outbox.schema import chat, message

SUPPRESSED_AT_ONCE = 1_000


def move(connection: Connection, bot: str, old: int, new: int, now: float) -> None:
    """A group became a supergroup: what waits for the old id goes to the new one."""
    lane = connection.execute(select(func.min(message.c.lane)).where(*_waiting_for(bot, old))).scalar()
    if lane is None:
        return
    connection.execute(update(message).where(*_waiting_for(bot, old)).values(chat_id=new))
    found = select(chat.c.client, chat.c.settings).where(chat.c.bot == bot, chat.c.chat_id == old)
    kept = connection.execute(found).one()
    chats.give_turns(connection, {(bot, new): (now, lane)}, {(bot, new): kept.client})
    unset = (chat.c.bot == bot, chat.c.chat_id == new, chat.c.settings.is_(None))
    connection.execute(update(chat).where(*unset).values(settings=kept.settings))


def suppress(connection: Connection, bot: str, chat_id: int, reason: Reason, now: float) -> Sequence[int]:
    """Ends what waits for a destination that is known to refuse the bot; answers which messages.

    A portion at a time: a transaction stays short, and a statement has a largest number of parameters.
    The chat gets another turn for the rest.
    """
    query = select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(SUPPRESSED_AT_ONCE)
    waiting = connection.execute(query).scalars().all()
    chats.finish(
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
    waits = or_(*(chats.in_state(state) for state in WAITING))
    return (message.c.bot == bot, message.c.chat_id == chat_id, waits)
