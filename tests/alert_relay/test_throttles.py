"""Throttles of incidents, on a real database."""

from functools import partial
from typing import Any

import pytest

from services.alert_relay import store, timers
from services.alert_relay.alertmanager import parse
from services.alert_relay.clusters import configuration
from services.alert_relay.incidents import throttles
from services.alert_relay.incidents import timers as timer_store
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.metrics import HeldBack
from services.alert_relay.notifications.notification import Notification, NotificationKind, Purpose
from services.alert_relay.notifications.render import text_of
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.store import StoreResult
from services.contracts.alertmanager import Webhook
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

MINUTE = 60.0
OPENED = (Purpose.OPENED, [NotificationKind.FIRING])
FIRING, RESOLVED = (Purpose.NEWS, [NotificationKind.FIRING]), (Purpose.NEWS, [NotificationKind.RESOLVED])


def target(relay_store: Store) -> NotificationTarget:
    return relay_store.target(throttles=throttles.parse("HighErrorRate=30m"))


async def receive(relay_store: Store, payload: dict[str, Any], now: float) -> StoreResult:
    posted = Webhook.model_validate(payload)
    group = parse.alert_group(posted, configuration.normal(posted.externalURL), now)
    work = partial(store.receive, group=group, body=f"{now}", target=target(relay_store), now=now)
    return await relay_store.database.write("receive", work)


async def sounds(relay_store: Store) -> list[tuple[Purpose, list[NotificationKind]]]:
    return [(each.purpose, each.kinds) for each in await relay_store.notifications()]


async def run_timer(relay_store: Store, kind: TimerKind, now: float) -> None:
    found = await relay_store.database.read("timers", partial(timer_store.due, now=now))
    (one,) = [each for each in found if each.kind is kind]
    work = partial(timers.perform, found=one, target=target(relay_store), now=now)
    await relay_store.database.write("timers", work)


async def last(relay_store: Store) -> Notification:
    return (await relay_store.all_notifications())[-1]


async def test_news_soon_after_a_sound_edit_the_message_and_are_counted(relay_store: Store) -> None:
    await receive(relay_store, webhook(alert("a")), START)

    results = [
        await receive(relay_store, webhook(alert("b")), START + MINUTE),
        await receive(relay_store, webhook(alert("c")), START + 2 * MINUTE),
    ]

    assert [each.held_back[HeldBack.THROTTLED] for each in results] == [1, 1]
    assert await sounds(relay_store) == [OPENED]
    shown = await last(relay_store)
    assert shown.purpose is Purpose.CHANGED
    assert "2 notifications held back" in text_of(shown).text


async def test_when_the_time_is_over_how_the_incident_is_is_news(relay_store: Store) -> None:
    await receive(relay_store, webhook(alert("a")), START)
    await receive(relay_store, webhook(alert("b")), START + MINUTE)

    await run_timer(relay_store, TimerKind.THROTTLED, START + 30 * MINUTE)

    assert await sounds(relay_store) == [OPENED, (Purpose.NEWS, [NotificationKind.REPEATED])]
    assert len((await last(relay_store)).items) == 2
    await receive(relay_store, webhook(alert("c")), START + 61 * MINUTE)
    assert (await sounds(relay_store))[2:] == [FIRING]


async def test_a_worse_severity_and_the_end_are_sent_at_once(relay_store: Store) -> None:
    def of(instance: str, severity: str, **more: Any) -> dict[str, Any]:
        labels = {"alertname": "HighErrorRate"}
        return webhook(alert(instance, severity=severity, **more), groupLabels=labels)

    await receive(relay_store, of("a", "warning"), START)
    await receive(relay_store, of("b", "critical"), START + MINUTE)
    assert await sounds(relay_store) == [OPENED, FIRING]
    await receive(relay_store, of("a", "warning", ends_at=START + 90), START + 90)
    await receive(relay_store, of("b", "critical", ends_at=START + 99), START + 99)
    assert (await sounds(relay_store))[2:] == [RESOLVED]


async def test_an_incident_that_was_reopened_without_a_sound_ends_without_one(relay_store: Store) -> None:
    for number in range(3):
        now = START + number * MINUTE
        await receive(relay_store, webhook(alert(starts_at=now)), now)
        await receive(relay_store, webhook(alert(starts_at=now, ends_at=now + 9)), now + 9)

    assert await sounds(relay_store) == [OPENED, RESOLVED]
    await receive(relay_store, webhook(alert(starts_at=now + 20)), now + 20)
    await run_timer(relay_store, TimerKind.THROTTLED, START + 31 * MINUTE)
    assert (await sounds(relay_store))[2:] == [(Purpose.NEWS, [NotificationKind.REPEATED])]


@pytest.mark.parametrize("over", [True, False])
async def test_other_names_and_later_incidents_are_not_held_back(relay_store: Store, *, over: bool) -> None:
    await receive(relay_store, webhook(alert("a")), START)
    if over:
        await receive(relay_store, webhook(alert("a", ends_at=START + 9)), START + 9)
        await receive(relay_store, webhook(alert("a", starts_at=START + 600)), START + 600)
        assert await sounds(relay_store) == [OPENED, RESOLVED, OPENED]
    else:
        await receive(relay_store, webhook(alert("a", name="Other")), START + 1)
        await receive(relay_store, webhook(alert("b", name="Other")), START + 2)
        assert await sounds(relay_store) == [OPENED, OPENED, FIRING]
