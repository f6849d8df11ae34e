"""Alerts about the delivery of notifications: their own failure must not raise them again. Pure.

Such an alert is sent like any other. If it cannot be delivered soon, it ends: while it waited, the rule would
see a message that waits. :mod:`tests.alert_relay.test_self_feeding` compares the names with the rules.
"""

from services.alert_relay.notifications.notification import Notification

#: The alert about notifications that fail.
FAILING = "NotificationDeliveryFailing"
#: Alerts whose rules read what a notification changes while it waits.
NAMES = frozenset(
    {
        FAILING,
        "ExternalAPIFailures",
        "HighQueueDepth",
        "MessageProcessingBacklog",
        "MessagesLate",
        "MessagesStandStill",
        "NotificationBacklog",
        "UnknownOutcomes",
    }
)
#: The label of alerts about the relay itself. What the bridge delivers is not changed by its notifications.
SERVICE = "alert-relay"
#: How long such a notification may wait; less than the age at which a rule fires.
SECONDS = 300.0


def expires_at(composed: Notification, now: float) -> float | None:
    """Returns when a notification ends undelivered, seconds since the epoch; None: never by itself."""
    own = [item.name in NAMES and item.labels.get("service") == SERVICE for item in composed.items]
    return now + SECONDS if own and all(own) else None


def is_about_failures(title: str) -> bool:
    """Whether a notification with this title is about notifications that fail.

    Args:
        title: begins with the name of its first alert.
    """
    return title.startswith(FAILING)
