"""Which alerts are tried at a chat that refused the bot. Pure.

A person may have blocked the bot for a day, or put it back into the group: nothing tells the relay. An alert
that the chat still refuses ends as a dead letter; an alert that is not tried ends as suppressed.
"""

from services.alert_relay.notifications import about_delivery
from services.outbox.messages import Claimed, Lane

#: Seconds from one attempt at such a chat to the next one, of alerts that are not urgent.
PAUSE_SECONDS = 300.0


def tries(message: Claimed, since: float) -> bool:
    """Whether a notification is tried at a chat that refused the bot.

    Args:
        message: the notification; its title begins with the name of its first alert.
        since: seconds since the last attempt at the chat.
    """
    if about_delivery.is_about_failures(message.title):
        return False
    return message.lane is Lane.URGENT or since >= PAUSE_SECONDS
