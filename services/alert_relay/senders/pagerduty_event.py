"""A notification as an event of PagerDuty's Events API v2. Pure.

All events of an incident have its id as ``dedup_key``: PagerDuty opens, acknowledges and resolves one alert.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.alert_relay.incidents.severity import Urgency, urgency_of
from services.alert_relay.notifications.notification import Notification, NotifiedAlert, Purpose
from services.alert_relay.senders import plain_text
from services.outbox.telegram.links import is_link

LONGEST_SUMMARY = 1_024
MOST_ALERTS, MOST_PAIRS, LONGEST_VALUE, MOST_LINKS = 10, 30, 500, 10
_CRITICAL = frozenset(
    {"critical", "page", "emergency", "fatal", "disaster", "blocker", "p0", "p1", "sev0", "sev1"}
)
_SOURCES = ("instance", "host", "pod", "node", "cluster")
_COMPONENTS, _CLASSES = ("service", "job", "container"), ("alertname",)


def event(notification: Notification, event_id: str) -> Mapping[str, Any]:
    """Returns the event without its routing key.

    Args:
        notification: that the event is about.
        event_id: of the notification; the key where there is neither an incident nor a storm.
    """
    action = _action(notification)
    made: dict[str, Any] = {"event_action": action, "dedup_key": _key(notification, event_id)}
    if action != "trigger":
        return made
    first = notification.items[0] if notification.items else None
    payload = {
        "summary": plain_text.line(notification)[:LONGEST_SUMMARY],
        "source": _label(first, _SOURCES) or notification.cluster or "alert-relay",
        "severity": _severity(notification),
        "component": _label(first, _COMPONENTS),
        "class": _label(first, _CLASSES),
        "group": notification.cluster,
        "timestamp": None if first is None else datetime.fromtimestamp(first.since, UTC).isoformat(),
        "custom_details": _details(notification),
    }
    made["payload"] = {name: value for name, value in payload.items() if value}
    made["client"] = "CCTelegram"
    if links := _links(notification):
        made["links"] = links
    return made


def _action(notification: Notification) -> str:
    about, storm = notification.incident, notification.storm
    if storm is not None:
        return "trigger" if storm.open else "resolve"
    if about is None:
        return "trigger"
    if about.resolved_at is not None:
        return "resolve"
    return "acknowledge" if about.acknowledged_by else "trigger"


def _key(notification: Notification, event_id: str) -> str:
    if notification.storm is not None:
        return notification.storm.id
    return event_id if notification.incident is None else notification.incident.id


def _severity(notification: Notification) -> str:
    if notification.purpose is Purpose.TEST:
        return "info"
    if notification.severity in _CRITICAL:
        return "critical"
    words = {Urgency.LOUD: "error", Urgency.NORMAL: "warning", Urgency.QUIET: "info"}
    return words[urgency_of(notification.severity)]


def _label(alert: NotifiedAlert | None, names: tuple[str, ...]) -> str:
    labels = {} if alert is None else alert.labels
    return next((labels[name][:LONGEST_VALUE] for name in names if labels.get(name)), "")


def _details(notification: Notification) -> Mapping[str, Any]:
    about = notification.incident
    return {
        "alerts": [
            {"labels": _cut(each.labels), "annotations": _cut(each.annotations)}
            for each in notification.items[:MOST_ALERTS]
        ],
        "firing": about.firing if about is not None else len(notification.items),
        "text": plain_text.body(notification)[:4_000],
    }


def _cut(pairs: Mapping[str, str]) -> Mapping[str, str]:
    return {name[:100]: value[:LONGEST_VALUE] for name, value in list(pairs.items())[:MOST_PAIRS]}


def _links(notification: Notification) -> Sequence[Mapping[str, str]]:
    found: dict[str, str] = {}
    for each in notification.items:
        for name, text in (("runbook_url", "Runbook"), ("dashboard_url", "Dashboard")):
            found.setdefault(each.annotations.get(name, ""), text)
        found.setdefault(each.generator_url, "Source")
    found.setdefault(notification.external_url, "Alertmanager")
    return [{"href": url, "text": text} for url, text in found.items() if is_link(url)][:MOST_LINKS]
