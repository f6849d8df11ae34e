"""Episodes: an episode is one alert from firing to its end. Pure.

An episode is identified by the Alertmanager cluster and the alert's fingerprint (a hash of its labels).
Nothing else in a webhook is stable: ``startsAt`` moves when a second source reports an earlier start,
``groupKey`` changes when routes are edited, the group's ``status`` is ``resolved`` while a silenced alert
of the group still fires, and each peer of a cluster delivers the same webhook.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


class EpisodeChange(StrEnum):
    """What a listed alert means for the newest episode of its fingerprint."""

    FIRED = "fired"  #: it opens a new episode
    REFIRED = "refired"  #: it opens a new episode; the end of the open one was never sent
    RESOLVED = "resolved"  #: it closes the open episode
    MISSED = "missed"  #: it fired and resolved between two webhooks: open and close an episode at once
    CONTINUES = "continues"  #: the episode is open already
    STALE = "stale"  #: the episode is closed already


#: The changes that open an episode.
OPENING = (EpisodeChange.FIRED, EpisodeChange.REFIRED, EpisodeChange.MISSED)


class End(StrEnum):
    """How an episode ended."""

    RESOLVED = "resolved"  #: Alertmanager sent the resolution
    ABSENT = "absent"  #: Alertmanager's API did not have the alert any more
    SUPERSEDED = "superseded"  #: the alert fired anew, with a later start
    JOINED = "joined"  #: its Alertmanager was joined to a cluster where the same alert fires
    BY_HAND = "by_hand"  #: a person resolved the incident


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a webhook; times are seconds since the epoch."""

    fingerprint: str
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float | None  #: None while firing
    generator_url: str = ""

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "").lower()


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """The alerts of one group, as a webhook lists them.

    ``status`` is stored and never decides anything: each alert has a status of its own.
    """

    cluster: str
    group_key: str
    group_labels: Mapping[str, str]
    receiver: str
    status: str
    external_url: str
    reason: str
    truncated: int  #: number of alerts that Alertmanager left out
    alerts: tuple[Alert, ...]
    unreadable: tuple[str, ...] = ()  #: what is wrong with each alert that could not be read


@dataclass(frozen=True, slots=True)
class Episode:
    """The newest episode of an alert; times are seconds since the epoch."""

    id: str
    incident_id: str
    fingerprint: str
    starts_at: float  #: the earliest reported start
    last_received_at: float  #: when a webhook last listed the alert
    ended_at: float | None = None  #: Alertmanager's end time; None while open
    ended_by: str | None = None  #: an :class:`End`; None while open
    notified_at: float | None = None  #: when people were last notified that it fires; None: never
    suspect_at: float | None = None  #: when Alertmanager's API was first found without it; None: it has it
    suppressed: bool = False  #: whether Alertmanager's API had it as silenced or inhibited

    @property
    def open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Observation:
    """A listed alert, the stored episode that it was compared with, and the change."""

    alert: Alert
    change: EpisodeChange
    before: Episode | None
    ended_by: End = End.RESOLVED  #: of an episode that this closes
    suppressed: bool = False  #: whether the alert is silenced or inhibited
    known: bool = False  #: whether people know that it fires, though this episode is new

    @property
    def since(self) -> float:
        """The earliest reported start of this episode, seconds since the epoch."""
        if self.before is None or self.change in OPENING:
            return self.alert.starts_at
        return min(self.before.starts_at, self.alert.starts_at)


#: A repeat may come a little early: the times of receipt vary.
REPEAT_TOLERANCE = 0.8


def observe(
    alert: Alert, known: Episode | None, *, now: float = 0.0, repeat_seconds: float = 0.0
) -> Observation:
    """Compares a listed alert with the newest stored episode of its fingerprint.

    A firing alert opens a new episode whenever the stored one is closed, even if its ``startsAt`` lies
    before that end: after a lost connection Prometheus sends an alert again with its old start, and
    ignoring it would hide the alert until ``repeat_interval``. If it was the late copy of a peer, that
    peer's notification log now has "firing", so the peer sends the resolution again as well.

    Alertmanager sends no resolution of an alert that resolves while it is silenced, nor after a restart that
    lost its state. So a firing alert also opens a new episode if it started after the open one was last
    received as firing. A start that moves within an episode is earlier than that: peers and restarts of
    Prometheus report starts that differ.

    An alert whose incident a person resolved while it fires opens a new episode when Alertmanager repeats it,
    and not before: until then its webhooks are redeliveries.

    Args:
        alert: as it is listed.
        known: the newest stored episode of its fingerprint.
        now: seconds since the epoch.
        repeat_seconds: how often Alertmanager repeats it.
    """
    if alert.firing:
        change = _fires(alert, known, now, repeat_seconds)
    elif known is None:
        change = EpisodeChange.MISSED
    elif known.ended_at is None:
        change = EpisodeChange.RESOLVED
    else:
        change = EpisodeChange.MISSED if alert.starts_at > known.ended_at else EpisodeChange.STALE
    return Observation(alert, change, known)


def _fires(alert: Alert, known: Episode | None, now: float, repeat_seconds: float) -> EpisodeChange:
    if known is None:
        return EpisodeChange.FIRED
    if not known.open:
        repeated = now - (known.ended_at or 0.0) >= REPEAT_TOLERANCE * repeat_seconds
        return EpisodeChange.FIRED if repeated or not fires_on(alert, known) else EpisodeChange.STALE
    if alert.starts_at > max(known.starts_at, known.last_received_at):
        return EpisodeChange.REFIRED
    return EpisodeChange.CONTINUES


def fires_on(alert: Alert, known: Episode) -> bool:
    """Whether the alert has fired since before a person resolved its incident."""
    return known.ended_by == End.BY_HAND and alert.starts_at <= (known.ended_at or 0.0)


def incident_key(cluster: str, alertname: str, group_labels: Mapping[str, str]) -> str:
    """Returns the key of the incident that an alert belongs to, SHA-256 in hex.

    Alertmanager's ``groupKey`` would not do: it contains the path of the routes and changes with them.
    """
    named = json.dumps([cluster, alertname, sorted(group_labels.items())])
    return hashlib.sha256(named.encode()).hexdigest()


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """Returns an alert's fingerprint, as Alertmanager computes it: FNV-1a, 64 bits, of the sorted labels."""
    value = _FNV_OFFSET
    for name, text in sorted(labels.items()):
        for byte in b"%b\xff%b\xff" % (name.encode(), text.encode()):
            value = (value ^ byte) * _FNV_PRIME % 2**64
    return f"{value:016x}"


def unquoted(receiver: str) -> str:
    r"""Returns the receiver's name; Alertmanager quotes it as a regular expression, ``team-a\.telegram``."""
    return re.sub(r"\\(.)", r"\1", receiver)
