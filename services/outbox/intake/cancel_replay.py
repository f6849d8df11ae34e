"""Cancels messages that wait, and replays messages that ended undelivered.

Each is a compare-and-set on the message's state: a request that comes too late changes nothing, and
the answer says so. Both are recorded in the message's history, with who did it and why.

A message that may have arrived is not called cancelled: it is not sent again, and ends as unknown. One that
a later message has replaced, or was to edit, is not replayed: it would appear below the newer state.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, bindparam, case, exists, func, or_, select, update

from services.outbox.chats import locks, message_changes
from services.outbox.intake import digest_ends, enqueue
from services.outbox.intake.update_keys import GENERAL
from services.outbox.messages import AT_ONCE, CONTINUATION, WAITING, Lane, MessageRecord, MessageState, Reason
from services.outbox.schema import chat, event, message

#: The states that can be replayed.
REPLAYABLE = (
    MessageState.DEAD_LETTER,
    MessageState.UNKNOWN,
    MessageState.EXPIRED,
    MessageState.CANCELLED,
    MessageState.SUPPRESSED,
)


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of a cancel or a replay.

    Args:
        done: whether the message was changed.
        state: of the message, now.
        parts_sent: number of parts that are delivered.
        possible_duplicate: whether it may have been delivered before.
        replaced: whether it was not replayed because a later message has replaced it.
        shown_by: id of the message of a digest that shows it: that one is cancelled or replayed.
    """

    done: bool
    state: MessageState
    parts_sent: int
    possible_duplicate: bool
    replaced: bool = False
    shown_by: str | None = None

    @property
    def obstacle(self) -> str:
        """Why nothing was done, for people."""
        if self.shown_by is not None:
            return f"It is part of a digest: message {self.shown_by} shows it beside others."
        return f"It is {self.state.value}."


@dataclass(frozen=True, slots=True)
class By:
    """Who cancels or replays, and why; both are shown in the message's history."""

    who: str
    why: str = ""

    def cause(self, what: str) -> str:
        """The text for the history."""
        return f"{what} by {self.who}" + (f": {self.why}" if self.why else "")


_ROW = select(
    message.c.seq,
    message.c.bot,
    message.c.chat_id,
    message.c.state,
    message.c.part,
    message.c.possible_duplicate,
    digest_ends.SHOWN_BY.label("shown_by"),
)


def cancel(connection: Connection, message_id: str, by: By, now: float) -> ActionResult | None:
    """Cancels a message that waits; None where there is no such message.

    One that may have arrived ends as unknown. Nothing changes where parts of it are delivered, or a worker
    has claimed it.
    """
    query = _ROW.where(message.c.id == message_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    locks.lock_chats(connection, [(row.bot, row.chat_id)])
    done = connection.execute(_CANCEL, {"b_seq": row.seq, "b_chat": row.chat_id, "now": now}).rowcount == 1
    row = connection.execute(query).one()
    if done:
        cause = by.cause("cancelled")
        message_changes.record(connection, [(row.seq, MessageState(row.state))], cause, now)
    return _result(row, done=done)


_CANCEL = (
    update(message)
    .where(
        message.c.seq == bindparam("b_seq"),
        message.c.chat_id == bindparam("b_chat"),
        message.c.state.in_([state.value for state in WAITING]),
        message.c.part == 0,
        digest_ends.SHOWN_BY.is_(None),
    )
    .values(
        # As message_changes.final_state(), for a message without delivered parts.
        state=case(
            (message.c.possible_duplicate, MessageState.UNKNOWN.value), else_=MessageState.CANCELLED.value
        ),
        finished_at=bindparam("now"),
    )
)


def cancel_all(connection: Connection, message_ids: Collection[str], cause: str, now: float) -> None:
    """Cancels those of the messages that wait and have no delivered part; see :func:`cancel`.

    Args:
        connection: in a transaction.
        message_ids: of one bot or several.
        cause: for people, shown in the messages' history.
        now: seconds since the epoch.
    """
    given = message.c.id.in_(message_ids)
    chats = connection.execute(select(message.c.bot, message.c.chat_id).where(given))
    locks.lock_chats(connection, [(row.bot, row.chat_id) for row in chats])
    waiting = select(message.c.seq).where(
        given,
        message.c.state.in_([state.value for state in WAITING]),
        message.c.part == 0,
        digest_ends.SHOWN_BY.is_(None),
    )
    seqs = connection.execute(waiting.order_by(message.c.seq).with_for_update()).scalars().all()
    message_changes.finish(connection, seqs, MessageState.CANCELLED, Reason.NONE, cause=cause, now=now)


def replay(connection: Connection, message_id: str, by: By, now: float) -> ActionResult | None:
    """Replays a message that ended undelivered; None where there is no such message."""
    query = _ROW.where(message.c.id == message_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    done = bool(replay_all(connection, [row.seq], by, now, states=REPLAYABLE))
    row = connection.execute(query).one()
    replaced = not done and row.state in REPLAYABLE and row.shown_by is None
    return _result(row, done=done, replaced=replaced)


def replay_all(
    connection: Connection, seqs: Sequence[int], by: By, now: float, *, states: Collection[MessageState]
) -> int:
    """Replays those of the messages that are in one of the states and not replaced; returns their number.

    A message that a digest shows is replayed with the digest's message, and not by itself.

    A message continues at the part that failed. One with the state unknown may have arrived: it is sent
    as a possible duplicate. An expiry that has passed is removed, and so is the block of the chat: the
    replay is a new attempt.
    """
    digest_ends.reopen(connection, seqs)
    replayable = select(message.c.seq).where(
        message.c.seq.in_(seqs),
        message.c.state.in_([state.value for state in states]),
        digest_ends.SHOWN_BY.is_(None),
        ~_REPLACED,
    )
    found = connection.execute(replayable.order_by(message.c.seq).with_for_update()).scalars().all()
    if not found:
        return 0
    connection.execute(_REPLAY, {"seqs": found, "now": now})
    cause = by.cause("replayed")
    message_changes.record(connection, [(seq, MessageState.QUEUED) for seq in found], cause, now)
    _queue_chats(connection, found, now)
    return len(found)


_later = message.alias("later")


def _later_update_in(chat_id: ColumnElement[int]) -> Exists:
    """That a later update of the message's key is in a chat; one that was cancelled does not count."""
    return exists().where(
        _later.c.bot == message.c.bot,
        _later.c.chat_id == chat_id,
        _later.c.update_client == message.c.update_client,
        _later.c.update_key == message.c.update_key,
        func.coalesce(_later.c.thread_id, GENERAL) == func.coalesce(message.c.thread_id, GENERAL),
        or_(_later.c.seq > message.c.seq, _later.c.update_at > message.c.update_at),
        _later.c.state != MessageState.CANCELLED.value,
    )


_supergroup = (
    select(chat.c.migrated_to)
    .where(chat.c.bot == message.c.bot, chat.c.chat_id == message.c.chat_id)
    .correlate(message)
    .scalar_subquery()
)
_REPLACED = or_(
    # A question that is closed: its result was to edit it.
    exists().where(_later.c.edits == message.c.id, _later.c.update_key.is_(None)),
    _later_update_in(message.c.chat_id),
    _later_update_in(_supergroup),
)

_REPLAY = (
    update(message)
    .where(message.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(
        state=MessageState.QUEUED.value,
        due_at=case((message.c.part > 0, CONTINUATION), else_=AT_ONCE),
        finished_at=None,
        replayed_at=bindparam("now"),
        retries=0,
        # The next part may be in the chat already, so that its text says so.
        resends=case((or_(message.c.state == MessageState.UNKNOWN.value, message.c.resends > 0), 1), else_=0),
        reason="none",
        possible_duplicate=case(
            (message.c.state == MessageState.UNKNOWN.value, True), else_=message.c.possible_duplicate
        ),
        expires_at=case((message.c.expires_at <= bindparam("now"), None), else_=message.c.expires_at),
    )
)


def _queue_chats(connection: Connection, seqs: Sequence[int], now: float) -> None:
    columns = (message.c.id, message.c.bot, message.c.chat_id, message.c.lane, event.c.client)
    query = select(*columns).join(event, message.c.event_id == event.c.id)
    rows = connection.execute(query.where(message.c.seq.in_(seqs))).all()
    for bot, chat_id in sorted({(row.bot, row.chat_id) for row in rows}):
        here = (chat.c.bot == bot, chat.c.chat_id == chat_id, chat.c.blocked.is_not(None))
        connection.execute(update(chat).where(*here).values(blocked=None))
    waiting = [
        MessageRecord(row.id, row.chat_id, lane=_LANES.get(row.lane, Lane.NORMAL), bot=row.bot)
        for row in rows
    ]
    enqueue.queue_chats(connection, waiting, now, clients=[row.client for row in rows])


def _result(row: Any, *, done: bool, replaced: bool = False) -> ActionResult:
    state = _STATES.get(row.state, MessageState.UNKNOWN)
    shown_by = None if done else row.shown_by
    return ActionResult(done, state, row.part, row.possible_duplicate, replaced, shown_by)


# One message in a state or a lane of another version must not fail the replay of many.
_LANES = {int(lane): lane for lane in Lane}
_STATES = {state.value: state for state in MessageState}
