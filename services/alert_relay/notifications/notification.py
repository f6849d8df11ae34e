"""Decides which alerts of a webhook people are notified of, how loudly, and in how many messages. Pure.

A notification is about transitions of episodes: fired, also anew after an end that was never sent, resolved,
and missed (fired and resolved between two webhooks). Other alerts of the webhook are only counted ("2 more
are firing").

A webhook without a transition is one of two things, and its content does not show which:

* a redelivery: our answer was lost and Alertmanager retries, or a peer of the cluster delivers too;
* Alertmanager's repeat, ``repeat_interval`` after the last notification.

So a firing alert is notified again ("still firing since") when people were last notified of it about one
``repeat_interval`` ago, which the relay reads in Alertmanager's configuration, and if nobody has acknowledged
its incident. While every answer to
Alertmanager is lost, the same webhook comes again and again, and people get what they would get without that.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import TypeAdapter

from services.alert_relay.incidents.episodes import (
    OPENING,
    REPEAT_TOLERANCE,
    AlertGroup,
    EpisodeChange,
    Observation,
)
from services.alert_relay.incidents.severity import Urgency, urgency_of

TRANSITIONS = (*OPENING, EpisodeChange.RESOLVED)


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


@dataclass(frozen=True, slots=True)
class NotifiedAlert:
    """One alert in a notification; times are seconds since the epoch."""

    kind: NotificationKind
    fingerprint: str
    name: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    since: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Notification:
    """The content of one message; it is stored as JSON in the outbox event, so field names are a format."""

    urgency: Urgency
    items: tuple[NotifiedAlert, ...]
    still_firing: int  #: alerts of the group that fire without a transition
    truncated: int  #: alerts that Alertmanager left out
    external_url: str
    source: Source = Source.WEBHOOK
    unreadable: tuple[str, ...] = ()  #: what is wrong with each alert that could not be read
    cluster: str = ""  #: the cluster that the alerts come from; empty in notifications of older versions

    @property
    def title(self) -> str:
        if not self.items:
            return "unreadable alert"
        names = list(dict.fromkeys(item.name or "alert" for item in self.items))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more} {'/'.join(self.kinds)}"

    @property
    def severity(self) -> str:
        return self.items[0].severity if self.items else "critical"

    @property
    def kinds(self) -> list[NotificationKind]:
        return [kind for kind in NotificationKind if any(item.kind is kind for item in self.items)]


_notification = TypeAdapter(Notification)


def to_json(notification: Notification) -> str:
    return _notification.dump_json(notification).decode()


def from_json(body: str) -> Notification:
    return _notification.validate_json(body)


def to_notify(
    observations: Sequence[Observation],
    repeat_seconds: float,
    now: float,
    acknowledged: Collection[str] = (),
) -> list[Observation]:
    """Returns the observations that people are notified of; the module's docstring has the rule.

    Args:
        observations: all alerts of one webhook.
        repeat_seconds: Alertmanager's ``repeat_interval`` for its receiver.
        now: seconds since the epoch.
        acknowledged: ids of the incidents that a person handles: their repeats cause no notification.
    """
    transitions = [each for each in observations if each.change in TRANSITIONS or _is_unknown(each)]
    return transitions or [
        each
        for each in observations
        if _is_repeat(each, repeat_seconds, now)
        and (each.before is None or each.before.incident_id not in acknowledged)
    ]


def _is_unknown(each: Observation) -> bool:
    """Whether people do not know yet that the alert fires: it was silenced until now."""
    return each.change is EpisodeChange.CONTINUES and (
        each.before is not None and each.before.notified_at is None
    )


def _is_repeat(each: Observation, repeat_seconds: float, now: float) -> bool:
    if each.change is not EpisodeChange.CONTINUES or each.before is None or each.before.notified_at is None:
        return False
    return now - each.before.notified_at >= REPEAT_TOLERANCE * repeat_seconds


def compose(
    group: AlertGroup,
    observations: Sequence[Observation],
    notify: Sequence[Observation],
    source: Source = Source.WEBHOOK,
) -> list[Notification]:
    """Returns one notification for each urgency among the alerts to notify, the most urgent first.

    The first one says which alerts could not be read. Without other news it is urgent: it may be anything.

    Args:
        group: the group that the alerts belong to.
        observations: all alerts of the webhook.
        notify: the ones to notify, see :func:`to_notify`.
        source: where the relay has the alerts from.
    """
    listed = {id(each) for each in notify}
    still_firing = sum(
        each.change is EpisodeChange.CONTINUES and id(each) not in listed for each in observations
    )
    by_urgency: dict[Urgency, list[NotifiedAlert]] = {}
    for each in notify:
        by_urgency.setdefault(urgency_of(each.alert.severity), []).append(_item(each))
    if group.unreadable and not by_urgency:
        by_urgency[Urgency.LOUD] = []
    composed = [
        Notification(
            urgency,
            _ordered(by_urgency[urgency]),
            still_firing,
            group.truncated,
            group.external_url,
            source=source,
            cluster=group.cluster,
        )
        for urgency in Urgency
        if urgency in by_urgency
    ]
    return [replace(each, unreadable=group.unreadable) for each in composed[:1]] + composed[1:]


def _item(each: Observation) -> NotifiedAlert:
    alert = each.alert
    return NotifiedAlert(
        NotificationKind.FIRING if _is_unknown(each) else kind_of(each.change),
        alert.fingerprint,
        alert.name,
        alert.severity,
        dict(alert.labels),
        dict(alert.annotations),
        alert.generator_url,
        each.since,
        alert.ends_at,
    )


def kind_of(change: EpisodeChange) -> NotificationKind:
    if change in (EpisodeChange.FIRED, EpisodeChange.REFIRED):
        return NotificationKind.FIRING
    return NotificationKind.REPEATED if change is EpisodeChange.CONTINUES else NotificationKind.RESOLVED


def _ordered(items: list[NotifiedAlert]) -> tuple[NotifiedAlert, ...]:
    """Sorts firing alerts before resolved ones and keeps Alertmanager's order within each kind."""
    order = list(NotificationKind)
    return tuple(sorted(items, key=lambda item: order.index(item.kind)))
