"""What becomes of a chat as a destination: it moves, refuses the bot, comes back, is muted or quiet."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update

from services.kit.database.connect import upsert
from services.outbox import change_feed
from services.outbox.chats import chat_queue
from services.outbox.messages import WAITING, MessageState, Reason
from services.outbox.schema import attempt, change, chat, message

SUPPRESSED_AT_ONCE = 1_000


def move(connection: Connection, bot: str, old: int, new: int, now: float) -> None:
    """A group became a supergroup: what waits for the old id goes to the new one."""
    lane = connection.execute(select(func.min(message.c.lane)).where(*_waiting_for(bot, old))).scalar()
    if lane is None:
        return
    connection.execute(update(message).where(*_waiting_for(bot, old)).values(chat_id=new))
    # What stands in the old chat is not in the new one, where its number may be another message's.
    stayed = select(message.c.id).where(message.c.bot == bot, message.c.chat_id == old)
    edits = (*_waiting_for(bot, new), message.c.edits.in_(stayed))
    connection.execute(update(message).where(*edits).values(edits=None))
    found = select(chat.c.client, chat.c.settings, chat.c.muted_until)
    kept = connection.execute(found.where(chat.c.bot == bot, chat.c.chat_id == old)).one()
    chat_queue.give_turns(connection, {(bot, new): (now, lane)}, {(bot, new): kept.client})
    for column in (chat.c.settings, chat.c.muted_until):
        unset = (chat.c.bot == bot, chat.c.chat_id == new, column.is_(None))
        connection.execute(update(chat).where(*unset).values({column: getattr(kept, column.name)}))


def suppress(connection: Connection, bot: str, chat_id: int, reason: Reason, now: float) -> Sequence[int]:
    """Ends what waits for a destination that is known to refuse the bot; answers which messages.

    A portion at a time: a transaction stays short, and a statement has a largest number of parameters.
    The chat gets another turn for the rest.
    """
    query = select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(SUPPRESSED_AT_ONCE)
    waiting = connection.execute(query).scalars().all()
    chat_queue.finish(
        connection,
        waiting,
        MessageState.SUPPRESSED,
        reason,
        cause=f"the destination refuses the bot: {reason.value}",
        now=now,
    )
    return waiting


def refused_for_now(connection: Connection, bot: str, now: float) -> list[tuple[int, float]]:
    """The chats that Telegram has asked to wait for, and until when, as (chat, seconds since the epoch)."""
    asked = attempt.c.retry_after
    query = (
        select(message.c.chat_id, func.max(message.c.due_at), func.max(asked))
        .join(attempt, (attempt.c.message_seq == message.c.seq) & (attempt.c.number == message.c.attempts))
        .where(
            message.c.bot == bot,
            chat_queue.in_state(MessageState.RETRY_WAIT),
            message.c.reason == Reason.FLOOD_CONTROL.value,
            message.c.due_at > now,
            asked.is_not(None),
        )
        .group_by(message.c.chat_id)
    )
    # By a clock that has been set back the time would be longer than what was asked.
    return [(chat_id, min(due, now + told)) for chat_id, due, told in connection.execute(query)]


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
    refused = update(chat).where(*here, chat.c.blocked.is_not(None)).values(blocked=None)
    if not connection.execute(refused).rowcount:
        return
    waiting = connection.execute(select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(1)).scalar()
    if waiting is not None:
        connection.execute(update(chat).where(*here, chat.c.owner.is_(None)).values(next_at=now))


def hold(
    connection: Connection, waiting: Sequence[tuple[int, MessageState]], until: float, cause: str, now: float
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


def note(connection: Connection, waiting: Sequence[tuple[int, MessageState]], cause: str, now: float) -> None:
    """Keeps something that happened to messages and changed no state."""
    rows = [{"message_seq": seq, "at": now, "state": state.value, "cause": cause} for seq, state in waiting]
    connection.execute(insert(change), rows)
    change_feed.write(connection, [(seq, state.value, 0, cause) for seq, state in waiting], now)


def let_go(connection: Connection, bot: str, chat_id: int, now: float) -> None:
    """What is held in a chat has its turn now: its settings have changed."""
    held = (*_waiting_for(bot, chat_id), message.c.held)
    lane = connection.execute(select(func.min(message.c.lane)).where(*held)).scalar()
    if lane is not None:
        connection.execute(update(message).where(*held).values(due_at=0.0, held=False))
        chat_queue.give_turns(connection, {(bot, chat_id): (now, lane)})


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
    waits = or_(*(chat_queue.in_state(state) for state in WAITING))
    return (message.c.bot == bot, message.c.chat_id == chat_id, waits)
