import pytest

from services.alert_relay.channels.target import Channel
from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications import channel_purposes
from services.alert_relay.notifications.notification import Notification, NotifiedStorm, Purpose

OPENED, CHANGED, NEWS, STORM, FAULT, TEST = Purpose


def storm(*, opened: int, resolved: int, changed: int, is_first: bool = False) -> Notification:
    ids = tuple(str(number) for number in range(changed))
    shown = NotifiedStorm("s", (), opened, resolved, ids, is_first)
    return Notification(Urgency.QUIET, (), 0, 0, "", purpose=STORM, storm=shown)


@pytest.mark.parametrize(
    ("channel", "edits", "taken"),
    [
        (Channel.TELEGRAM, True, {OPENED, CHANGED, NEWS, STORM, FAULT, TEST}),
        (Channel.EMAIL, True, {OPENED, NEWS, STORM, FAULT, TEST}),
        (Channel.SLACK, True, {OPENED, CHANGED, NEWS, STORM, FAULT, TEST}),
        (Channel.SLACK, False, {OPENED, NEWS, STORM, FAULT, TEST}),
        (Channel.PAGERDUTY, True, {OPENED, CHANGED, STORM, FAULT, TEST}),
        (Channel.WEBHOOK, True, {OPENED, CHANGED, NEWS, STORM, FAULT, TEST}),
        (Channel.APPRISE, True, {OPENED, NEWS, STORM, FAULT, TEST}),
    ],
)
def test_a_channel_takes_what_it_can_show(channel: Channel, edits: bool, taken: set[Purpose]) -> None:
    found = {
        purpose
        for purpose in Purpose
        if channel_purposes.takes(
            channel, Notification(Urgency.LOUD, (), 0, 0, "", purpose=purpose), edits=edits
        )
    }
    assert found == taken


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (storm(opened=11, resolved=0, changed=1, is_first=True), True),
        (storm(opened=12, resolved=0, changed=1), False),
        (storm(opened=1, resolved=11, changed=5), False),
        (storm(opened=0, resolved=12, changed=1), True),
    ],
)
def test_mail_gets_the_beginning_and_the_end_of_a_storm(each: Notification, expected: bool) -> None:
    assert channel_purposes.takes(Channel.EMAIL, each) is expected
    assert channel_purposes.takes(Channel.SLACK, each, edits=False) is expected
    assert channel_purposes.takes(Channel.SLACK, each)
    assert channel_purposes.takes(Channel.TELEGRAM, each)
