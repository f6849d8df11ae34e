"""Measures incidents and notifications of a period. The functions run inside a transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, func, select

from services.alert_relay.notifications.store import BOT
from services.alert_relay.schema import incident, notification
from services.outbox.messages import MessageState, Origin
from services.outbox.schema import event, message

#: Names of alerts that are listed with the number of their notifications.
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a period; durations are seconds, None: nothing to measure.

    Args:
        by_severity: the incidents that opened, by severity, the most frequent first.
        acknowledged_after: mean time from the opening to the first acknowledgement, of those that opened.
        resolved_after: mean time from the opening to the end, of those that ended.
        never_acknowledged: those that ended without an acknowledgement.
        noisiest: names of alerts with the number of their notifications, the most frequent first.
        longest: the name of the incident that went on for longest, and how long: until now if it is open.
        delay_median: from the acceptance of a notification to its delivery.
        delay_95: the time within which 95 % were delivered.
        dead_letters: messages that did not arrive.
    """

    by_severity: Mapping[str, int]
    acknowledged_after: float | None
    resolved_after: float | None
    never_acknowledged: int
    noisiest: tuple[tuple[str, int], ...]
    longest: tuple[str, float] | None
    delay_median: float | None
    delay_95: float | None
    dead_letters: int

    @property
    def incidents(self) -> int:
        return sum(self.by_severity.values())


def measure(connection: Connection, begin: float, until: float) -> Figures:
    """Measures a period.

    Args:
        connection: to read from.
        begin: seconds since the epoch; it is part of the period.
        until: seconds since the epoch; it is not.
    """
    opened = _within(incident.c.opened_at, begin, until)
    ended = _within(incident.c.resolved_at, begin, until)
    number = func.count().label("number")
    severities = select(incident.c.severity, number).where(opened).group_by(incident.c.severity)
    by_severity = connection.execute(severities.order_by(number.desc(), incident.c.severity))
    after = incident.c.first_acknowledged_at - incident.c.opened_at
    took = incident.c.resolved_at - incident.c.opened_at
    never = select(func.count()).where(ended, incident.c.first_acknowledged_at.is_(None))
    return Figures(
        by_severity={row.severity: row.number for row in by_severity},
        acknowledged_after=_mean(connection, after, opened),
        resolved_after=_mean(connection, took, ended),
        never_acknowledged=connection.execute(never).scalar_one(),
        noisiest=_noisiest(connection, begin, until),
        longest=_longest(connection, begin, until),
        delay_median=_delay(connection, begin, until, 0.5),
        delay_95=_delay(connection, begin, until, 0.95),
        dead_letters=connection.execute(
            select(func.count()).where(
                message.c.bot == BOT,
                message.c.state == MessageState.DEAD_LETTER.value,
                _within(message.c.finished_at, begin, until),
            )
        ).scalar_one(),
    )


def _within(column: ColumnElement[float], begin: float, until: float) -> ColumnElement[bool]:
    return (column >= begin) & (column < until)


def _mean(
    connection: Connection, seconds: ColumnElement[float], condition: ColumnElement[bool]
) -> float | None:
    found: float | None = connection.execute(select(func.avg(seconds)).where(condition)).scalar()
    return found


def _noisiest(connection: Connection, begin: float, until: float) -> tuple[tuple[str, int], ...]:
    number = func.count().label("number")
    query = (
        select(incident.c.alertname, number)
        .join(notification, notification.c.incident_id == incident.c.id)
        .where(_within(notification.c.at, begin, until))
        .group_by(incident.c.alertname)
        .order_by(number.desc(), incident.c.alertname)
        .limit(MOST_NAMES)
    )
    return tuple((row.alertname, row.number) for row in connection.execute(query))


def _longest(connection: Connection, begin: float, until: float) -> tuple[str, float] | None:
    still = incident.c.resolved_at.is_(None) | (incident.c.resolved_at >= until)
    length = case((still, until), else_=incident.c.resolved_at) - incident.c.opened_at
    during = (incident.c.opened_at < until) & (still | (incident.c.resolved_at >= begin))
    query = select(incident.c.alertname, length.label("seconds")).where(during)
    row = connection.execute(query.order_by(length.desc()).limit(1)).first()
    return None if row is None else (row.alertname, row.seconds)


def _delay(connection: Connection, begin: float, until: float, share: float) -> float | None:
    """Returns the time within which a share of the notifications was delivered."""
    delay = (message.c.finished_at - message.c.accepted_at).label("delay")
    delivered = (
        select(delay)
        .join(event, event.c.id == message.c.event_id)
        .where(
            message.c.bot == BOT,
            message.c.state == MessageState.DELIVERED.value,
            event.c.origin == Origin.ALERT.value,
            _within(message.c.finished_at, begin, until),
        )
    )
    number = connection.execute(select(func.count()).select_from(delivered.subquery())).scalar_one()
    if not number:
        return None
    place = min(number - 1, int(number * share))
    found: float | None = connection.execute(delivered.order_by(delay).offset(place).limit(1)).scalar()
    return found
