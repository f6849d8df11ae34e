"""The state of a chat as a destination: migrated, blocked, muted, or with deferred messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, or_, select, update

from services.kit.database.connect import upsert
from services.outbox.chats import chat_queue, locks, message_changes
from services.outbox.messages import AT_ONCE, WAITING, MessageState, Reason
from services.outbox.schema import attempt, chat, in_state, message

#: Messages that :func:`suppress` ends in one transaction.
SUPPRESS_BATCH = 1_000
#: Migrations that are followed from one chat. A group becomes a supergroup once: a long chain is an error.
MOST_MIGRATIONS = 4


def ids_of(connection: Connection, chat_id: int, bot: str | None = None) -> list[int]:
    """Returns all ids that a chat has had, the oldest first: a group that becomes a supergroup gets another.

    Args:
        connection: for reading.
        chat_id: one of the ids.
        bot: that is in the chat; None: any.
    """
    former = _followed(connection, chat.c.migrated_to, chat.c.chat_id, chat_id, bot)
    return [*reversed(former), chat_id, *_newer(connection, chat_id, bot, former)]


def current_id(connection: Connection, bot: str, chat_id: int) -> int:
    """Returns the id of the supergroup that a group became; for any other chat its own id."""
    return [chat_id, *_newer(connection, chat_id, bot)][-1]


def lock_current(connection: Connection, bot: str, chat_id: int) -> int:
    """As :func:`current_id`; locks the chat's rows, so that it cannot migrate before the commit."""
    current, locked = current_id(connection, bot, chat_id), set[int]()
    while current not in locked:
        locked |= {chat_id, current}
        locks.lock_or_create_chats(connection, [(bot, one) for one in locked])
        current = current_id(connection, bot, chat_id)
    return current


def _newer(connection: Connection, chat_id: int, bot: str | None, former: Sequence[int] = ()) -> list[int]:
    newer = _followed(connection, chat.c.chat_id, chat.c.migrated_to, chat_id, bot)
    return [one for one in newer if one not in former]


def _followed(
    connection: Connection, given: Column[Any], wanted: Column[Any], chat_id: int, bot: str | None
) -> list[int]:
    """The ids from a chat on, by the column that has the one and the column that has the other."""
    ids = [chat_id]
    of_bot = () if bot is None else (chat.c.bot == bot,)
    # Repeated for the planner: its indexes have the chats that migrated, and no others.
    migrated = chat.c.migrated_to.is_not(None)
    while len(ids) <= MOST_MIGRATIONS:
        query = select(wanted).where(given == ids[-1], migrated, *of_bot)
        found = connection.execute(query.order_by(wanted).limit(1)).scalar()
        if not isinstance(found, int) or found in ids:
            break
        ids.append(found)
    return ids[1:]


def migrate(connection: Connection, bot: str, old: int, new: int, now: float) -> None:
    """Records that a group became a supergroup, and moves its waiting messages there.

    The supergroup itself counts as not migrated, whatever an earlier answer said: two chats that lead to
    each other would pass their messages to and fro without end.

    Args:
        connection: in a transaction.
        bot: whose chat.
        old: id of the group.
        new: id of the supergroup.
        now: seconds since the epoch.
    """
    for chat_id, migrated_to in ((old, new), (new, None)):
        here = (chat.c.bot == bot, chat.c.chat_id == chat_id)
        connection.execute(update(chat).where(*here).values(migrated_to=migrated_to))
    move(connection, bot, old, new, now)


def move(connection: Connection, bot: str, old: int, new: int, now: float) -> None:
    """Moves the waiting messages and the settings of a group to the supergroup that it became.

    Args:
        connection: in a transaction.
        bot: whose chat.
        old: id of the group.
        new: id of the supergroup.
        now: seconds since the epoch.
    """
    found = select(chat.c.client, chat.c.settings, chat.c.muted_until)
    former = connection.execute(found.where(chat.c.bot == bot, chat.c.chat_id == old)).one()
    _pass_on(connection, bot, new, {"settings": former.settings, "muted_until": former.muted_until})
    lane = connection.execute(select(func.min(message.c.lane)).where(*_waiting_for(bot, old))).scalar()
    if lane is None:
        return
    connection.execute(update(message).where(*_waiting_for(bot, old)).values(chat_id=new))
    # A message that was sent to the old chat is not in the new one, where its number may be another's.
    sent = select(message.c.id).where(message.c.bot == bot, message.c.chat_id == old)
    edits = (*_waiting_for(bot, new), message.c.edits.in_(sent))
    connection.execute(update(message).where(*edits).values(edits=None))
    chat_queue.add(connection, {(bot, new): (now, lane)}, {(bot, new): former.client})


def _pass_on(connection: Connection, bot: str, new: int, settings: Mapping[str, Any]) -> None:
    """Gives a supergroup the settings of its group, where it has none of its own."""
    if all(value is None for value in settings.values()):
        return
    statement = upsert(connection, chat).values(bot=bot, chat_id=new, **settings)
    own = {name: func.coalesce(chat.c[name], statement.excluded[name]) for name in settings}
    connection.execute(statement.on_conflict_do_update(index_elements=[chat.c.bot, chat.c.chat_id], set_=own))


def suppress(connection: Connection, bot: str, chat_id: int, reason: Reason, now: float) -> Sequence[int]:
    """Ends the waiting messages of a chat that refuses the bot; returns their numbers.

    A batch at a time: a transaction stays short, and a statement takes a limited number of parameters.
    The caller releases the chat, which is then claimed again for the rest.
    """
    query = select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(SUPPRESS_BATCH)
    waiting = connection.execute(query).scalars().all()
    message_changes.finish(
        connection,
        waiting,
        MessageState.SUPPRESSED,
        reason,
        cause=f"the destination refuses the bot: {reason.value}",
        now=now,
    )
    return waiting


def flood_waits(connection: Connection, bot: str, now: float) -> list[tuple[int, float]]:
    """The chats under Telegram's flood control, with the end of their wait, seconds since the epoch."""
    wait = attempt.c.retry_after
    query = (
        select(message.c.chat_id, func.max(message.c.due_at), func.max(wait))
        .join(attempt, (attempt.c.message_seq == message.c.seq) & (attempt.c.number == message.c.attempts))
        .where(
            message.c.bot == bot,
            in_state(MessageState.RETRY_WAIT),
            message.c.reason == Reason.FLOOD_CONTROL.value,
            message.c.due_at > now,
            wait.is_not(None),
        )
        .group_by(message.c.chat_id)
    )
    # After the clock was set back, due_at would be later than Telegram meant.
    return [(chat_id, min(due, now + seconds)) for chat_id, due, seconds in connection.execute(query)]


def block(connection: Connection, bot: str, chat_id: int, reason: Reason) -> None:
    """Marks a chat as one that refuses the bot, without an attempt."""
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, blocked=reason.value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"blocked": reason.value}
        )
    )


def unblock(connection: Connection, bot: str, chat_id: int, now: float) -> None:
    """Removes the mark of :func:`block`; the chat can be claimed at once, if a message waits there."""
    here = (chat.c.bot == bot, chat.c.chat_id == chat_id)
    blocked = update(chat).where(*here, chat.c.blocked.is_not(None)).values(blocked=None)
    if not connection.execute(blocked).rowcount:
        return
    waiting = connection.execute(select(message.c.seq).where(*_waiting_for(bot, chat_id)).limit(1)).scalar()
    if waiting is not None:
        connection.execute(update(chat).where(*here, chat.c.owner.is_(None)).values(next_at=now))


def defer(
    connection: Connection, messages: Sequence[tuple[int, MessageState]], until: float, cause: str, now: float
) -> None:
    """Defers messages to the end of their chat's quiet hours.

    Args:
        connection: in a transaction.
        messages: numbers of the messages, and their states, which stay.
        until: the time at which they become due, seconds since the epoch.
        cause: for people, shown in the message's history.
        now: seconds since the epoch.
    """
    seqs = [seq for seq, _ in messages]
    deferred = {"due_at": until, "held": True, "waits_from": until}
    connection.execute(update(message).where(message.c.seq.in_(seqs)).values(deferred))
    message_changes.record(connection, messages, cause, now)


def end_deferral(connection: Connection, bot: str, chat_id: int, now: float) -> None:
    """Makes a chat's deferred messages due now: its settings have changed, and are read again."""
    deferred = (*_waiting_for(bot, chat_id), message.c.held)
    lane = connection.execute(select(func.min(message.c.lane)).where(*deferred)).scalar()
    if lane is not None:
        due = {"due_at": AT_ONCE, "held": False, "waits_from": now}
        connection.execute(update(message).where(*deferred).values(due))
        chat_queue.add(connection, {(bot, chat_id): (now, lane)})


def mute(connection: Connection, bot: str, chat_id: int, until: float | None) -> None:
    """Mutes a chat until a time, seconds since the epoch; None ends the mute."""
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, muted_until=until)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"muted_until": until}
        )
    )


def muted_until(connection: Connection, bot: str, chat_id: int, now: float) -> float | None:
    """The end of the mute that is in force, seconds since the epoch; None where there is none."""
    found = select(chat.c.muted_until).where(chat.c.bot == bot, chat.c.chat_id == chat_id)
    until: float | None = connection.execute(found).scalar()
    return until if until is not None and until > now else None


def _waiting_for(bot: str, chat_id: int) -> tuple[ColumnElement[bool], ...]:
    waits = or_(*(in_state(state) for state in WAITING))
    return (message.c.bot == bot, message.c.chat_id == chat_id, waits)
