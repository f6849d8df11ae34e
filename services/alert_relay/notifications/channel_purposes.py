"""Which channel takes which notifications. Pure.

What a channel cannot show quietly is not sent to it: a mail for each change of an incident would be noise.
"""

from collections.abc import Mapping

from services.alert_relay.channels.target import Channel
from services.alert_relay.notifications.notification import Notification, NotifiedStorm, Purpose

#: Every notification: the channel edits the message, or a program reads each state.
_ALL = frozenset(Purpose)
_NEW = _ALL - {Purpose.CHANGED}
#: PagerDuty has a state for each incident, and repeats the notification itself.
_STATES = _ALL - {Purpose.NEWS}
_TAKEN: Mapping[Channel, frozenset[Purpose]] = {
    Channel.TELEGRAM: _ALL,
    Channel.EMAIL: _NEW,
    Channel.SLACK: _ALL,
    Channel.PAGERDUTY: _STATES,
    Channel.WEBHOOK: _ALL,
    Channel.APPRISE: _NEW,
}
#: These show a storm as it changes; the others get its first and its last state.
_SHOW_STORMS = frozenset({Channel.TELEGRAM, Channel.SLACK, Channel.WEBHOOK})


def takes(channel: Channel, notification: Notification, *, edits: bool = True) -> bool:
    """Whether a target of a channel gets a notification.

    Args:
        channel: of the target.
        notification: for any target.
        edits: whether the target can edit its messages, if its channel can; Slack's incoming webhooks cannot.
    """
    purposes = _TAKEN[channel] if edits or channel is not Channel.SLACK else _NEW
    if notification.purpose not in purposes:
        return False
    shows_storm = channel in _SHOW_STORMS and (edits or channel is not Channel.SLACK)
    return notification.storm is None or shows_storm or _begins_or_ends(notification.storm)


def _begins_or_ends(storm: NotifiedStorm) -> bool:
    return storm.is_first or not storm.open
