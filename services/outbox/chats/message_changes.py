"""Changes of messages other than by an attempt: written with their cause, and to the change feed."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from services.outbox import change_feed
from services.outbox.messages import MessageState, Reason, may_have_arrived
from services.outbox.schema import change, message


def final_state(state: MessageState, *, arrived: bool) -> MessageState:
    """The final state of a message that ends without an attempt.

    Expired, suppressed and cancelled say that a message was not sent. One that may have arrived is unknown.

    Args:
        state: of a message that was never sent.
        arrived: the result of :func:`may_have_arrived`.
    """
    return MessageState.UNKNOWN if arrived else state


def finish(
    connection: Connection,
    seqs: Sequence[int],
    state: MessageState,
    reason: Reason,
    *,
    cause: str,
    now: float,
) -> None:
    """Ends messages without an attempt; those that may have arrived end as unknown.

    Args:
        connection: in a transaction.
        seqs: numbers of the messages; may be empty.
        state: a finished state.
        reason: for metrics and the change feed.
        cause: for people, shown in the message's history.
        now: seconds since the epoch.
    """
    if not seqs:
        return
    endings = _endings(connection, seqs, state)
    for final in dict.fromkeys(endings.values()):
        alike = [seq for seq, its in endings.items() if its is final]
        ended = update(message).where(message.c.seq.in_(alike))
        connection.execute(ended.values(state=final.value, reason=reason.value, finished_at=now))
    _write(connection, list(endings.items()), cause, reason.value, now)


def _endings(connection: Connection, seqs: Sequence[int], state: MessageState) -> dict[int, MessageState]:
    """The final state of each message, by its number."""
    columns = (message.c.seq, message.c.part, message.c.possible_duplicate, message.c.resends)
    rows = connection.execute(select(*columns).where(message.c.seq.in_(seqs)).order_by(message.c.seq))
    return {
        row.seq: final_state(
            state,
            arrived=may_have_arrived(
                part=row.part, possible_duplicate=row.possible_duplicate, resends=row.resends
            ),
        )
        for row in rows
    }


def record(
    connection: Connection, messages: Sequence[tuple[int, MessageState]], cause: str, now: float
) -> None:
    """Records a change that the caller has made, or that leaves the state as it is.

    Args:
        connection: in a transaction.
        messages: numbers of the messages, at least one, and the states that they are in now.
        cause: for people, shown in the message's history.
        now: seconds since the epoch.
    """
    _write(connection, messages, cause, cause, now)


def note(connection: Connection, seq: int, state: MessageState, cause: str, now: float) -> None:
    """Adds a line to a message's history alone: its state is not published once more."""
    connection.execute(insert(change).values(message_seq=seq, at=now, state=state.value, cause=cause))


def _write(
    connection: Connection,
    messages: Sequence[tuple[int, MessageState]],
    cause: str,
    feed_cause: str,
    now: float,
) -> None:
    rows = [{"message_seq": seq, "at": now, "state": state.value, "cause": cause} for seq, state in messages]
    connection.execute(insert(change), rows)
    change_feed.write(connection, [(seq, state.value, 0, feed_cause) for seq, state in messages], now)
