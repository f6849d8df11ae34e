"""A notification as JSON for other programs, in the form of docs/channels.md. Pure.

The names of fields are a format: fields may be added, and none changes its meaning.
"""

from collections.abc import Mapping
from typing import Any

from services.alert_relay.notifications.notification import (
    Notification,
    NotifiedAlert,
    NotifiedIncident,
    NotifiedStorm,
)
from services.alert_relay.senders.delivery import Delivery
from services.kit.clock import rfc3339


def body(delivery: Delivery) -> Mapping[str, Any]:
    """Returns the type, the time and the data of a call."""
    notification = delivery.notification
    return {
        "type": f"alert.{notification.purpose.value}",
        "timestamp": rfc3339(delivery.accepted_at),
        "data": {
            "id": delivery.event_id,
            "title": notification.title,
            "text": delivery.text,
            "severity": notification.severity,
            "urgency": notification.urgency.value,
            "cluster": notification.cluster,
            "alertmanager_url": notification.external_url,
            "incident": _incident(notification.incident),
            "alerts": [_alert(each) for each in notification.items],
            "alerts_not_listed": notification.still_firing,
            "alerts_truncated": notification.truncated,
            "unreadable": list(notification.unreadable),
            "storm": _storm(notification),
        },
    }


def _incident(about: NotifiedIncident | None) -> Mapping[str, Any] | None:
    if about is None:
        return None
    state = "acknowledged" if about.acknowledged_by else "firing"
    return {
        "id": about.id,
        "version": about.version,
        "state": state if about.resolved_at is None else "resolved",
        "alertname": about.name,
        "severity": about.severity,
        "firing": about.firing,
        "acknowledged_by": about.acknowledged_by or None,
        "acknowledged_at": _time(about.acknowledged_at),
        "resolved_by": about.resolved_by or None,
        "resolved_at": _time(about.resolved_at),
        "reopened": about.reopened,
    }


def _alert(each: NotifiedAlert) -> Mapping[str, Any]:
    return {
        "state": each.kind.value,
        "fingerprint": each.fingerprint,
        "alertname": each.name,
        "severity": each.severity,
        "labels": dict(each.labels),
        "annotations": dict(each.annotations),
        "starts_at": rfc3339(each.since),
        "ended_at": _time(each.ended_at),
        "generator_url": each.generator_url,
    }


def _storm(notification: Notification) -> Mapping[str, Any] | None:
    storm: NotifiedStorm | None = notification.storm
    if storm is None:
        return None
    incidents = [{"alertname": name, "severity": severity} for name, severity, _ in storm.incidents]
    return {"id": storm.id, "open": storm.open, "resolved": storm.resolved, "incidents": incidents}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
