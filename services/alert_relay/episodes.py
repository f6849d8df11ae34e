"""One alert from firing to resolved, and what a listed alert means for it. Pure.

An episode is known by the Alertmanager cluster and the alert's fingerprint (a hash of its labels).
Nothing else of a webhook is firm: ``startsAt`` moves within an episode when a second source reports
an earlier start, ``groupKey`` changes when routes are edited, the group's ``status`` says resolved
while another alert of the group is silenced and still firing, and peers of a cluster deliver twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    FIRED = "fired"  #: a new episode
    RESOLVED = "resolved"  #: the episode that was open is over
    MISSED = "missed"  #: fired and resolved between two webhooks: a whole episode at once
    CONTINUES = "continues"  #: known to be firing, and said again
    STALE = "stale"  #: known to be resolved, and said again


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as a webhook lists it; times are seconds since the epoch."""

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
class Heard:
    """A webhook, as far as it is believed: its alerts, each for itself."""

    cluster: str
    group_key: str
    group_labels: Mapping[str, str]
    receiver: str
    status: str
    external_url: str
    reason: str
    truncated: int
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """The newest episode of an alert."""

    id: str
    incident_id: str
    fingerprint: str
    starts_at: float  #: the earliest start that was reported
    heard_at: float  #: when a webhook last listed it
    ended_at: float | None = None  #: Alertmanager's own time; None while open

    @property
    def open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Observed:
    """A listed alert, what was known of it before, and what is new."""

    alert: Alert
    change: Change
    before: Episode | None

    @property
    def since(self) -> float:
        """The earliest start that was reported within this episode."""
        if self.before is None or self.change in (Change.FIRED, Change.MISSED):
            return self.alert.starts_at
        return min(self.before.starts_at, self.alert.starts_at)


def observe(alert: Alert, known: Episode | None) -> Observed:
    """What a listed alert means for the newest episode of its key.

    A firing alert whose last episode is closed always opens a new one, also where its ``startsAt``
    lies before that end: after a lost connection Prometheus sends an alert with its old start once
    more, and silence there would last until ``repeat_interval``. Where it was a peer's late copy,
    that peer's notification log now says "firing", so it sends the resolution again as well.
    """
    if alert.firing:
        return Observed(alert, Change.CONTINUES if known and known.open else Change.FIRED, known)
    if known is None:
        return Observed(alert, Change.MISSED, None)
    if known.ended_at is None:
        return Observed(alert, Change.RESOLVED, known)
    return Observed(alert, Change.MISSED if alert.starts_at > known.ended_at else Change.STALE, known)


def unquoted(receiver: str) -> str:
    r"""The receiver's name: Alertmanager sends it as a regular expression, ``team-a\.telegram\+x``."""
    return re.sub(r"\\(.)", r"\1", receiver)
