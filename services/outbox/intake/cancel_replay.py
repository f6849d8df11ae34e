"""What people decide about a message: take it back, or send it again.

Each is a compare-and-set on the message's state, so that a decision which comes too late changes
nothing and says so. Both leave a change that names who decided, and why.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, select, update

from services.outbox import change_feed
from services.outbox.chats import chat_queue, locks
from services.outbox.intake import enqueue
from services.outbox.messages import CONTINUATION, WAITING, Lane, MessageRecord, MessageState, Reason
from services.outbox.schema import change, chat, event, message

#: What can be sent again.
REPLAYABLE = (
    MessageState.DEAD_LETTER,
    MessageState.UNKNOWN,
    MessageState.EXPIRED,
    MessageState.CANCELLED,
    MessageState.SUPPRESSED,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a decision.

    Args:
        done: whether it was carried out.
        state: of the message, now.
        parts_sent: how much of it stands in the chat.
        possible_duplicate: it may have arrived before.
    """

    done: bool
    state: MessageState
    parts_sent: int
    possible_duplicate: bool


@dataclass(frozen=True, slots=True)
class By:
    """Who decided, and why; both are shown with the message."""

    who: str
    why: str = ""

    def cause(self, what: str) -> str:
        return f"{what} by {self.who}" + (f": {self.why}" if self.why else "")


_ROW = select(
    message.c.seq,
    message.c.bot,
    message.c.chat_id,
    message.c.state,
    message.c.part,
    message.c.possible_duplicate,
)


def cancel(connection: Connection, message_id: str, by: By, now: float) -> Verdict | None:
    """Takes a message back that is not sent yet; None where there is no such message.

    Where parts of it stand in the chat already, or a worker has it just now, nothing changes.
    """
    query = _ROW.where(message.c.id == message_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    locks.hold(connection, [(row.bot, row.chat_id)])
    done = connection.execute(_CANCEL, {"b_seq": row.seq, "b_chat": row.chat_id, "now": now}).rowcount == 1
    if done:
        _note(connection, [row.seq], MessageState.CANCELLED, by.cause("cancelled"), now)
    return _verdict(connection.execute(query).one(), done=done)


_CANCEL = (
    update(message)
    .where(
        message.c.seq == bindparam("b_seq"),
        message.c.chat_id == bindparam("b_chat"),
        message.c.state.in_([state.value for state in WAITING]),
        message.c.part == 0,
    )
    .values(state=MessageState.CANCELLED.value, finished_at=bindparam("now"))
)


def take_back(connection: Connection, message_ids: Collection[str], cause: str, now: float) -> None:
    """Cancels those of the messages of which nothing has left yet; a worker keeps what it has just now.

    Args:
        connection: in a transaction.
        message_ids: which, of one bot or several.
        cause: for people.
        now: seconds since the epoch.
    """
    wanted = message.c.id.in_(message_ids)
    of = connection.execute(select(message.c.bot, message.c.chat_id).where(wanted))
    locks.hold(connection, [(row.bot, row.chat_id) for row in of])
    waiting = select(message.c.seq).where(
        wanted, message.c.state.in_([state.value for state in WAITING]), message.c.part == 0
    )
    seqs = connection.execute(waiting.order_by(message.c.seq).with_for_update()).scalars().all()
    chat_queue.finish(connection, seqs, MessageState.CANCELLED, Reason.NONE, cause=cause, now=now)


def replay(connection: Connection, message_id: str, by: By, now: float) -> Verdict | None:
    """Puts one message back into the queue, if it ended undelivered; None where there is none."""
    query = _ROW.where(message.c.id == message_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    done = bool(replay_all(connection, [row.seq], by, now, states=REPLAYABLE))
    return _verdict(connection.execute(query).one(), done=done)


def replay_all(
    connection: Connection, seqs: Sequence[int], by: By, now: float, *, states: Collection[MessageState]
) -> int:
    """Puts those of the messages that are in one of the states back into the queue; answers how many.

    They go on at the part that failed. One whose outcome is unknown may have arrived: what is sent
    now says so. An expiry that has passed is lifted, and so is the block of a destination that
    refused the bot: whoever replays wants it to be tried.
    """
    wanted = select(message.c.seq).where(
        message.c.seq.in_(seqs), message.c.state.in_([state.value for state in states])
    )
    mine = connection.execute(wanted.order_by(message.c.seq).with_for_update()).scalars().all()
    if not mine:
        return 0
    connection.execute(_REPLAY, {"seqs": mine, "now": now})
    _note(connection, mine, MessageState.QUEUED, by.cause("replayed"), now)
    _give_turns(connection, mine, now)
    return len(mine)


_REPLAY = (
    update(message)
    .where(message.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(
        state=MessageState.QUEUED.value,
        due_at=case((message.c.part > 0, CONTINUATION), else_=0.0),
        finished_at=None,
        replayed_at=bindparam("now"),
        retries=0,
        resends=0,
        reason="none",
        possible_duplicate=case(
            (message.c.state == MessageState.UNKNOWN.value, True), else_=message.c.possible_duplicate
        ),
        expires_at=case((message.c.expires_at <= bindparam("now"), None), else_=message.c.expires_at),
    )
)


def _give_turns(connection: Connection, seqs: Sequence[int], now: float) -> None:
    columns = (message.c.id, message.c.bot, message.c.chat_id, message.c.lane, event.c.client)
    query = select(*columns).join(event, message.c.event_id == event.c.id)
    rows = connection.execute(query.where(message.c.seq.in_(seqs))).all()
    for bot, chat_id in sorted({(row.bot, row.chat_id) for row in rows}):
        here = (chat.c.bot == bot, chat.c.chat_id == chat_id, chat.c.blocked.is_not(None))
        connection.execute(update(chat).where(*here).values(blocked=None))
    waiting = [MessageRecord(row.id, row.chat_id, lane=Lane(row.lane), bot=row.bot) for row in rows]
    enqueue.ready(connection, waiting, now, clients=[row.client for row in rows])


def _note(connection: Connection, seqs: Sequence[int], state: MessageState, cause: str, now: float) -> None:
    rows = [{"message_seq": seq, "at": now, "state": state.value, "cause": cause} for seq in seqs]
    connection.execute(insert(change), rows)
    change_feed.write(connection, [(seq, state.value, 0, cause) for seq in seqs], now)


def _verdict(row: Any, *, done: bool) -> Verdict:
    return Verdict(done, MessageState(row.state), row.part, row.possible_duplicate)
