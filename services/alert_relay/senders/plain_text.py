"""A notification as plain text with its links, and as one line. Pure."""

from services.alert_relay.notifications import render
from services.alert_relay.notifications.notification import Notification, NotificationKind, Purpose
from services.outbox.telegram.text import without_entities

#: Characters of a line.
LONGEST_LINE = 200


def body(notification: Notification) -> str:
    """Returns the text of a notification; the URL of a link stands behind it."""
    return without_entities(render.text_of(notification), 100_000)


def line(notification: Notification) -> str:
    """Returns a notification as one line: how many alerts, of which name, and in which cluster."""
    about, storm = notification.incident, notification.storm
    cluster = f" ({render.one_line(notification.cluster)})" if notification.cluster else ""
    if notification.purpose is Purpose.TEST:
        return "Test: this target gets alerts"
    if storm is not None:
        resolved = f", {storm.resolved} resolved" if storm.resolved else ""
        return f"Many incidents at once: {storm.open} open{resolved}{cluster}"
    if about is None:
        return f"{render.one_line(notification.title)}{cluster}"
    name = render.named(about.name, about.severity)
    return f"[{_state(notification)}] {name}{cluster}"[:LONGEST_LINE]


def _state(notification: Notification) -> str:
    about = notification.incident
    if about is not None and about.resolved_at is not None:
        return "RESOLVED"
    if about is not None and about.acknowledged_by:
        return "ACKNOWLEDGED"
    firing = about.firing if about is not None else 0
    repeated = notification.kinds == [NotificationKind.REPEATED]
    word = "STILL FIRING" if repeated else "FIRING"
    return f"{word}:{firing}" if firing > 1 else word
