"""Reads what was accepted and finished in the last hour, by every replica, from the tables."""

from collections import defaultdict
from math import isfinite
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, case, func, select, true

from services.outbox.messages import MessageState
from services.outbox.queries.rolling_counts import Second
from services.outbox.schema import ENTERED_AT, IS_FAILURE, in_state, message

#: Deliveries that the quantiles are of, at most.
RECENT_DELIVERIES = 2_000

_DELIVERED = in_state(MessageState.DELIVERED)


def seconds_since(connection: Connection, since: int) -> list[Second]:
    """Returns the counts of each second in which messages were accepted or finished, oldest first.

    Args:
        connection: for reading.
        since: whole seconds since the epoch.
    """
    found: dict[int, dict[str, int]] = defaultdict(lambda: {"accepted": 0, "delivered": 0, "failed": 0})
    second = func.floor(message.c.accepted_at).label("second")
    accepted = select(second, func.count()).where(*_since(message.c.accepted_at, since)).group_by(second)
    for at, count in connection.execute(accepted):
        found[int(at)]["accepted"] += count
    second = func.floor(message.c.finished_at).label("second")
    kinds = (func.sum(case((kind, 1), else_=0)) for kind in (_DELIVERED, IS_FAILURE))
    finished = select(second, *kinds).where(*_since(message.c.finished_at, since))
    for at, delivered, failed in connection.execute(finished.group_by(second)):
        found[int(at)] |= {"delivered": delivered, "failed": failed}
    return [Second(at, **counts) for at, counts in sorted(found.items()) if any(counts.values())]


def deliveries_since(connection: Connection, since: float) -> list[tuple[float, float]]:
    """Returns (time, duration) of each delivery, the newest first, :data:`RECENT_DELIVERIES` at most.

    A duration is the time from the beginning of the wait to the delivery, in seconds: from the acceptance,
    the time of a message that had one (``deliver_at``, quiet hours), or the last replay.

    Args:
        connection: for reading.
        since: seconds since the epoch.
    """
    # "IS TRUE", so that SQLite reads the index of finished messages and not the one by state.
    delivered = (*_since(message.c.finished_at, since), _DELIVERED.is_(true()))
    query = select(message.c.finished_at, message.c.finished_at - ENTERED_AT).where(*delivered)
    rows = connection.execute(query.order_by(message.c.finished_at.desc()).limit(RECENT_DELIVERIES))
    return [(at, seconds) for at, seconds in rows if isinstance(seconds, int | float) and isfinite(seconds)]


def _since(column: Column[Any], since: float) -> tuple[ColumnElement[bool], ...]:
    """Rows from a time on. Infinity, and the texts of a SQLite column, are later than every time."""
    return column >= since, column < _LATEST


_LATEST = 1e15
