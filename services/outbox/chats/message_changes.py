"""Changes of messages other than by an attempt: written with their cause, and to the change feed."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, update

from services.outbox import change_feed
from services.outbox.messages import MessageState, Reason
from services.outbox.schema import change, message


def finish(
    connection: Connection,
    seqs: Sequence[int],
    state: MessageState,
    reason: Reason,
    *,
    cause: str,
    now: float,
) -> None:
    """Ends messages without an attempt.

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
    ended = update(message).where(message.c.seq.in_(seqs))
    connection.execute(ended.values(state=state.value, reason=reason.value, finished_at=now))
    _write(connection, [(seq, state) for seq in seqs], cause, reason.value, now)


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
