"""A maintenance window: while it is active, people are not notified of the alerts that it matches. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.alert_relay.incidents import matchers
from services.alert_relay.incidents.incident import Actor
from services.alert_relay.incidents.matchers import Matcher
from services.alert_relay.incidents.severity import Urgency, urgency_of
from services.alert_relay.maintenance import recurrence

#: The longest time that a window, or one occurrence of it, may last.
LONGEST_SECONDS = 31 * 86_400.0


class WindowState(StrEnum):
    SCHEDULED = "scheduled"  #: it begins later
    ACTIVE = "active"  #: it holds notifications back
    ENDED = "ended"  #: it is over, and does not recur


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A window; times are seconds since the epoch.

    Args:
        id: of the window.
        name: for people.
        matchers: an alert has to match all of them.
        cluster: whose alerts it matches; empty: those of every cluster.
        starts_at: of this occurrence, or of the next one.
        ends_at: of the same occurrence.
        created_by: who made it.
        reason: in that person's words.
        created_at: when it was made.
        rule: RRULE of a recurring window; empty: it does not recur.
        zone: time zone of the rule.
        first_starts_at: of the first occurrence.
        spares_urgent: whether people are notified of urgent alerts all the same.
        ended_at: when it was over; None: it is not.
    """

    id: str
    name: str
    matchers: tuple[Matcher, ...]
    cluster: str
    starts_at: float
    ends_at: float
    created_by: Actor
    reason: str
    created_at: float
    rule: str = ""
    zone: str = "UTC"
    first_starts_at: float = 0.0
    spares_urgent: bool = False
    ended_at: float | None = None

    def state(self, now: float) -> WindowState:
        if self.ended_at is not None:
            return WindowState.ENDED
        return WindowState.ACTIVE if self.starts_at <= now else WindowState.SCHEDULED

    def is_active(self, now: float) -> bool:
        return self.ended_at is None and self.starts_at <= now < self.ends_at

    def matches(self, cluster: str, labels: Mapping[str, str]) -> bool:
        """Whether it is about an alert, at any time."""
        if self.cluster and self.cluster != cluster:
            return False
        if self.spares_urgent and urgency_of(labels.get("severity", "").lower()) is Urgency.LOUD:
            return False
        return matchers.match_all(self.matchers, labels)


def covering(
    windows: Sequence[MaintenanceWindow], cluster: str, labels: Mapping[str, str], now: float
) -> MaintenanceWindow | None:
    """Returns an active window that matches an alert: the one that ends last."""
    found = [each for each in windows if each.is_active(now) and each.matches(cluster, labels)]
    return max(found, key=lambda each: each.ends_at, default=None)


def after_end(window: MaintenanceWindow, now: float) -> MaintenanceWindow:
    """Returns the window once its occurrence is over: at its next occurrence, else ended.

    An occurrence that would be over already is left out: it was missed.

    Args:
        window: whose occurrence is over, or was ended by a person.
        now: seconds since the epoch.
    """
    if window.rule:
        length = window.ends_at - window.starts_at
        begins = recurrence.occurrences(
            window.rule, window.zone, window.first_starts_at, max(window.starts_at, now - length)
        )
        starts_at = _next(begins)
        if starts_at is not None:
            return replace(window, starts_at=starts_at, ends_at=starts_at + length)
    return replace(window, ended_at=now)


def _next(begins: Iterator[float]) -> float | None:
    """Returns the next beginning; None if there is none, or the stored rule cannot be read any more."""
    try:
        return next(begins, None)
    except ValueError:
        return None


class WindowError(ValueError):
    """What a person wants cannot be a window.

    Args:
        field: that is wrong.
        reason: what to write.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class WantedWindow:
    """A window as a person asks for it; times are seconds since the epoch.

    Args:
        matchers: in Alertmanager's syntax.
        name: for people; empty: the matchers.
        cluster: whose alerts it matches; empty: those of every cluster.
        starts_at: None: now.
        ends_at: None: ``seconds`` says it.
        seconds: how long it lasts; None: ``ends_at`` says it.
        rule: RRULE; empty: it does not recur.
        zone: time zone of the rule.
        spares_urgent: whether people are notified of urgent alerts all the same.
        reason: in the person's words.
    """

    matchers: Sequence[str]
    name: str = ""
    cluster: str = ""
    starts_at: float | None = None
    ends_at: float | None = None
    seconds: float | None = None
    rule: str = ""
    zone: str = "UTC"
    spares_urgent: bool = False
    reason: str = ""


def plan(wanted: WantedWindow, window_id: str, by: Actor, now: float) -> MaintenanceWindow:
    """Returns the window that a person asks for, at its first occurrence.

    Raises:
        WindowError: a field is wrong.
    """
    try:
        parsed = matchers.parse_all(wanted.matchers)
    except ValueError as error:
        raise WindowError("matchers", str(error)) from None
    from_ = now if wanted.starts_at is None else wanted.starts_at
    length = _length(wanted, from_)
    starts_at = _first(wanted, from_, now - length) if wanted.rule else from_
    if starts_at + length <= now:
        raise WindowError("ends_at", "the window would be over already")
    return MaintenanceWindow(
        id=window_id,
        name=wanted.name or " ".join(map(str, parsed))[:200],
        matchers=parsed,
        cluster=wanted.cluster,
        starts_at=starts_at,
        ends_at=starts_at + length,
        created_by=by,
        reason=wanted.reason,
        created_at=now,
        rule=wanted.rule,
        zone=wanted.zone,
        first_starts_at=from_,
        spares_urgent=wanted.spares_urgent,
    )


def _length(wanted: WantedWindow, from_: float) -> float:
    if (wanted.ends_at is None) is (wanted.seconds is None):
        raise WindowError("ends_at", "write either when it ends, or how long it lasts")
    if wanted.ends_at is not None:
        length = wanted.ends_at - from_
        if length <= 0:
            raise WindowError("ends_at", "it must end after it begins")
    else:
        length = wanted.seconds or 0.0
    if not 0 < length <= LONGEST_SECONDS:
        raise WindowError("ends_at", "a window lasts at most 31 days, and so does an occurrence of it")
    return length


def _first(wanted: WantedWindow, from_: float, after: float) -> float:
    try:
        recurrence.check_zone(wanted.zone)
    except ValueError as error:
        raise WindowError("zone", str(error)) from None
    try:
        return recurrence.first(wanted.rule, wanted.zone, from_, after)
    except ValueError as error:
        raise WindowError("rule", str(error)) from None
