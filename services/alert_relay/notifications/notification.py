"""A notification: the content of one message about one incident. Pure.

It is stored as JSON in the outbox event, so its field names are a format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from services.alert_relay.incidents.severity import Urgency


class Source(StrEnum):
    """Where the relay has an alert from."""

    WEBHOOK = "webhook"
    LEFT_OUT = "left_out"  #: a truncated webhook had left it out; the relay read it from Alertmanager's API
    API = "api"  #: Alertmanager sent no webhook; the relay read its API


class NotificationKind(StrEnum):
    """What a notification reports about one alert."""

    FIRING = "firing"
    REPEATED = "repeated"
    RESOLVED = "resolved"


class Purpose(StrEnum):
    """What a notification is for."""

    OPENED = "opened"  #: the first message of an incident
    CHANGED = "changed"  #: the incident as it is now: it edits the first message, without a sound
    NEWS = "news"  #: what has just happened: it answers the first message, with a sound
    STORM = "storm"  #: many incidents that opened at once, as they are now; it edits their first message
    FAULT = "fault"  #: alerts that could not be read
    TEST = "test"  #: a person tries whether a target is reached


@dataclass(frozen=True, slots=True)
class NotifiedAlert:
    """One alert in a notification; times are seconds since the epoch.

    ``is_new``: whether it is the first episode of the alert in its incident.
    """

    kind: NotificationKind
    fingerprint: str
    name: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    since: float
    ended_at: float | None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class NotifiedIncident:
    """The incident that a notification is about, as it was at that moment; times are seconds since the epoch.

    Args:
        id: of the incident.
        version: of the incident.
        name: of its alerts.
        severity: the worst of its alerts.
        firing: the number of its alerts that fire.
        resolved_at: None while it is open.
        resolved_by: the person who resolved it; empty: its alerts ended.
        acknowledged_by: who handles it; empty: nobody.
        acknowledged_at: None if nobody handles it.
        reopened: how often it fired again soon after it had resolved.
        first_event: id of the event of its first message; empty in that message.
        level: of escalation that was reached, from 1; 1: it was not escalated.
        round: how often the levels were begun, from 1.
        held_back: notifications of it that were held back since the last one with a sound.
    """

    id: str
    version: int
    name: str
    severity: str
    firing: int
    resolved_at: float | None = None
    resolved_by: str = ""
    acknowledged_by: str = ""
    acknowledged_at: float | None = None
    reopened: int = 0
    first_event: str = ""
    level: int = 1
    round: int = 1
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class NotifiedStorm:
    """The incidents of a storm, as a notification lists them.

    Args:
        id: of the storm.
        incidents: of each its name, its severity, and its sign.
        open: the number of open ones.
        resolved: the number of resolved ones.
        changed: ids of the incidents because of which it is sent.
        is_first: whether its targets get no message of the storm before it.
    """

    id: str
    incidents: tuple[tuple[str, str, str], ...]
    open: int
    resolved: int
    changed: tuple[str, ...] = ()
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    """The content of one message.

    Args:
        urgency: how loud it is, and which lane it has.
        items: the alerts that it lists: of a first or changed message those of the incident, else those that
            are news.
        still_firing: the number of the incident's alerts that fire and are not listed.
        truncated: the number of alerts that Alertmanager left out.
        external_url: of Alertmanager, for links.
        source: where the relay has the alerts from.
        unreadable: what is wrong with each alert that could not be read.
        cluster: that the alerts come from; empty in notifications of older versions.
        purpose: what it is for.
        incident: None in notifications of older versions, of storms, and of alerts that could not be read.
        storm: None if it is not about a storm.
        throttled: whether it edits a message in place of news that are held back.
    """

    urgency: Urgency
    items: tuple[NotifiedAlert, ...]
    still_firing: int
    truncated: int
    external_url: str
    source: Source = Source.WEBHOOK
    unreadable: tuple[str, ...] = ()
    cluster: str = ""
    purpose: Purpose = Purpose.NEWS
    incident: NotifiedIncident | None = None
    storm: NotifiedStorm | None = None
    throttled: bool = False

    @property
    def title(self) -> str:
        if self.storm is not None:
            return f"many incidents at once: {self.storm.open} more open"
        if self.purpose is Purpose.TEST:
            return "test of a target"
        if not self.items:
            return f"{self.incident.name or 'alert'} resolved" if self.incident else "unreadable alert"
        names = list(dict.fromkeys(item.name or "alert" for item in self.items))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more} {'/'.join(self.kinds)}"

    @property
    def severity(self) -> str:
        if self.incident is not None:
            return self.incident.severity
        if self.purpose is Purpose.TEST:
            return "info"
        return self.items[0].severity if self.items else "critical"

    @property
    def kinds(self) -> list[NotificationKind]:
        return [kind for kind in NotificationKind if any(item.kind is kind for item in self.items)]


_notification = TypeAdapter(Notification)


def to_json(notification: Notification) -> str:
    return _notification.dump_json(notification).decode()


def from_json(body: str) -> Notification:
    return _notification.validate_json(body)
