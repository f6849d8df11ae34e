"""Notifications go to each target whose channel takes them."""

from functools import partial

from services.alert_relay.channels import store as channel_store
from services.alert_relay.channels.target import Target
from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.notification import Notification, Purpose
from services.alert_relay.notifications.store import Addressed, NotificationTarget
from services.outbox.schema import message
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START

CHAT, TOPIC = Target.telegram(1001), Target.telegram(-2002, 7)
MAIL, SLACK, PAGER = (Target.parse(text) for text in ("email:a@example.com", "slack:ops", "pagerduty:ops"))


def notification(purpose: Purpose) -> Notification:
    return Notification(Urgency.LOUD, (), 0, 0, "", purpose=purpose)


async def sent(
    store: Store, targets: tuple[Target, ...], *composed: Notification
) -> list[tuple[str, int, int | None]]:
    wanted = NotificationTarget(targets, store.telemetry.new_trace())
    addressed = [Addressed(each, targets) for each in composed]
    work = partial(notification_store.enqueue_all, composed=addressed, target=wanted, now=START)
    await store.database.write("report", work)
    return [(row["bot"], row["chat_id"], row["thread_id"]) for row in await store.rows(message)]


async def test_each_target_has_a_message_of_its_bot(relay_store: Store) -> None:
    numbers = await relay_store.database.write("report", partial(channel_store.ids, targets=[MAIL, SLACK]))

    found = await sent(relay_store, (CHAT, TOPIC, MAIL, SLACK), notification(Purpose.FAULT))

    assert found == [
        ("alerts", 1001, None),
        ("alerts", -2002, 7),
        ("channels", numbers[MAIL], None),
        ("channels", numbers[SLACK], None),
    ]


async def test_what_no_channel_takes_is_not_stored(relay_store: Store) -> None:
    assert await sent(relay_store, (MAIL,), notification(Purpose.CHANGED)) == []
    assert len(await sent(relay_store, (MAIL, CHAT), notification(Purpose.CHANGED))) == 1


async def test_pagerduty_gets_states_and_no_news(relay_store: Store) -> None:
    assert await sent(relay_store, (PAGER,), notification(Purpose.NEWS)) == []
    assert len(await sent(relay_store, (PAGER,), notification(Purpose.CHANGED))) == 1


async def test_a_target_keeps_its_number(relay_store: Store) -> None:
    work = partial(channel_store.ids, targets=[MAIL, SLACK])
    first = await relay_store.database.write("report", work)
    again = await relay_store.database.write(
        "report", partial(channel_store.ids, targets=[SLACK, PAGER, MAIL])
    )

    assert len(set(again.values())) == 3
    assert first.items() <= again.items()
    read = partial(channel_store.of_id, number=first[MAIL])
    assert await relay_store.database.read("report", read) == MAIL
    assert await relay_store.database.read("report", partial(channel_store.of_id, number=99)) is None
