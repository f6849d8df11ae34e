"""Notifications and deliveries as the tests of senders want them."""

from dataclasses import replace
from typing import Any

from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    NotifiedIncident,
    NotifiedStorm,
    Purpose,
)
from services.alert_relay.senders import plain_text
from services.alert_relay.senders.delivery import Delivery
from tests.alert_relay.payloads import START

INCIDENT, EVENT, FIRST = "0190-incident", "0190-event", "0190-first"
EVIL = "<!channel> & <b onclick='x'>\u202e`*_~|"


def alert(**changes: Any) -> NotifiedAlert:
    made = NotifiedAlert(
        NotificationKind.FIRING,
        "f" * 16,
        "DiskFull",
        "critical",
        {"alertname": "DiskFull", "instance": "db-1", "service": "orders", "severity": "critical"},
        {"summary": "db-1 is full", "runbook_url": "https://runbooks.example/disk"},
        "http://prometheus.example/graph",
        START,
        None,
    )
    return replace(made, **changes)


def incident(**changes: Any) -> NotifiedIncident:
    return replace(NotifiedIncident(INCIDENT, 1, "DiskFull", "critical", 1), **changes)


def notification(purpose: Purpose = Purpose.OPENED, **changes: Any) -> Notification:
    made = Notification(
        Urgency.LOUD,
        (alert(),),
        0,
        0,
        "http://alertmanager.example",
        cluster="europe",
        purpose=purpose,
        incident=incident(),
    )
    return replace(made, **changes)


def storm(opened: int, resolved: int = 0) -> Notification:
    made = NotifiedStorm("0190-storm", (("A", "warning", "🔥"),), opened, resolved)
    return notification(Purpose.STORM, items=(), incident=None, storm=made)


def delivery(of: Notification | None = None, **changes: Any) -> Delivery:
    shown = notification() if of is None else of
    made = Delivery("0190-message", EVENT, "ops", shown, plain_text.body(shown), START, START + 1)
    return replace(made, **changes)
