"""Reads what was accepted and finished in the last hour, by every replica, from the tables."""

from collections import defaultdict

from sqlalchemy import Connection, case, func, select, true

from services.outbox.messages import FAILED, MessageState
from services.outbox.queries.rolling_counts import Second
from services.outbox.schema import in_state, message

#: Deliveries that the quantiles are of, at most.
RECENT_DELIVERIES = 2_000

_COUNTED = {
    MessageState.DELIVERED.value: "delivered",
    **{state.value: "failed" for state in FAILED},
}


def seconds_since(connection: Connection, since: int) -> list[Second]:
    """Returns the counts of each second in which messages were accepted or finished, oldest first.

    Args:
        connection: for reading.
        since: whole seconds since the epoch.
    """
    found: dict[int, dict[str, int]] = defaultdict(lambda: {"accepted": 0, "delivered": 0, "failed": 0})
    second = func.floor(message.c.accepted_at).label("second")
    accepted = select(second, func.count()).where(message.c.accepted_at >= since).group_by(second)
    for at, count in connection.execute(accepted):
        found[int(at)]["accepted"] += count
    second = func.floor(message.c.finished_at).label("second")
    # "IS TRUE", so that SQLite reads the index of finished messages and not the one by state.
    counted = (message.c.finished_at >= since, message.c.state.in_(list(_COUNTED)).is_(true()))
    finished = select(second, message.c.state, func.count()).where(*counted)
    for at, state, count in connection.execute(finished.group_by(second, message.c.state)):
        found[int(at)][_COUNTED[state]] += count
    return [Second(at, **counts) for at, counts in sorted(found.items())]


def deliveries_since(connection: Connection, since: float) -> list[tuple[float, float]]:
    """Returns (time, duration) of each delivery, the newest first, :data:`RECENT_DELIVERIES` at most.

    A duration is the time from the acceptance, or the last replay, to the delivery, in seconds.

    Args:
        connection: for reading.
        since: seconds since the epoch.
    """
    delivered = (message.c.finished_at >= since, in_state(MessageState.DELIVERED).is_(true()))
    query = select(message.c.finished_at, message.c.finished_at - _ENTERED).where(*delivered)
    rows = connection.execute(query.order_by(message.c.finished_at.desc()).limit(RECENT_DELIVERIES))
    return [(at, seconds) for at, seconds in rows]


_ENTERED = case(
    (message.c.replayed_at > message.c.accepted_at, message.c.replayed_at), else_=message.c.accepted_at
)
