"""What is done later with incidents, on a real database."""

from collections.abc import Sequence
from functools import partial

from services.alert_relay import timers
from services.alert_relay.channels.target import Target
from services.alert_relay.incidents import timers as timer_store
from services.alert_relay.incidents.incident import Acknowledge, Actor, ActorKind, Unacknowledge
from services.alert_relay.incidents.timers import DueTimer
from services.alert_relay.notifications.notification import NotificationKind, Purpose
from services.alert_relay.notifications.store import NotificationTarget
from services.outbox.messages import Submission
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

ADA = Actor(ActorKind.TELEGRAM, "Ada", 1001)
HOUR = 3_600.0


def target(store: Store) -> NotificationTarget:
    return NotificationTarget(
        (Target.telegram(1001),), store.telemetry.new_trace(), acknowledge_seconds=4 * HOUR
    )


async def command(store: Store, wanted: Acknowledge | Unacknowledge, now: float) -> None:
    await store.perform(wanted, now, actor=ADA, target=target(store))


async def due(store: Store, now: float) -> list[DueTimer]:
    return await store.database.read("timers", partial(timer_store.due, now=now))


async def run(store: Store, found: DueTimer, now: float) -> Sequence[Submission]:
    work = partial(timers.perform, found=found, target=target(store), now=now)
    return (await store.database.write("timers", work)).submissions


async def test_an_acknowledged_incident_that_still_fires_after_a_while_is_nobodys_again(
    relay_store: Store,
) -> None:
    await relay_store.receive(webhook(alert()))
    await command(relay_store, Acknowledge(), START + 60)
    assert await due(relay_store, START + 60 + 4 * HOUR - 1) == []

    (found,) = await due(relay_store, START + 60 + 4 * HOUR)
    await run(relay_store, found, START + 60 + 4 * HOUR)

    (incident,) = await relay_store.incidents()
    kinds = [each["kind"] for each in (await relay_store.incident(incident["id"]))["entries"]]
    news = (await relay_store.notifications())[-1]
    assert (incident["state"], kinds) == ("firing", ["firing", "acknowledged", "unattended"])
    assert (news.purpose, [each.kind for each in news.items]) == (Purpose.NEWS, [NotificationKind.REPEATED])


async def test_a_timer_is_done_once_whoever_is_first(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    await command(relay_store, Acknowledge(), START)
    (found,) = await due(relay_store, START + 4 * HOUR)

    done = [await run(relay_store, found, START + 4 * HOUR) for _ in range(2)]

    assert [bool(each) for each in done] == [True, False]


async def test_an_acknowledgement_that_was_taken_back_or_given_anew_has_its_own_time(
    relay_store: Store,
) -> None:
    await relay_store.receive(webhook(alert()))
    await command(relay_store, Acknowledge(), START)
    await command(relay_store, Unacknowledge(), START + 1)
    assert await due(relay_store, START + 5 * HOUR) == []

    await command(relay_store, Acknowledge(), START + HOUR)

    assert await due(relay_store, START + 5 * HOUR - 1) == []
    assert len(await due(relay_store, START + 5 * HOUR)) == 1


async def test_an_incident_that_has_ended_needs_no_timer(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    await command(relay_store, Acknowledge(), START)
    await relay_store.receive(webhook(alert(ends_at=START + 9)), START + 9)
    (found,) = await due(relay_store, START + 4 * HOUR)

    assert await run(relay_store, found, START + 4 * HOUR) == ()


async def flap(store: Store, times: int, *, end: bool = True) -> float:
    """Fires and resolves an alert so many times; returns the time of the last change."""
    for number in range(times):
        now = START + 20 * number
        await store.receive(webhook(alert(starts_at=now)), now)
        if end or number + 1 < times:
            now += 10
            await store.receive(webhook(alert(starts_at=now - 10, ends_at=now)), now)
    return now


async def test_how_a_flapping_incident_comes_to_rest_is_news(relay_store: Store) -> None:
    rests_at = await flap(relay_store, 8)
    assert await due(relay_store, rests_at + 299) == []
    sent = len(await relay_store.notifications())
    (found,) = await due(relay_store, rests_at + 300)

    await run(relay_store, found, rests_at + 300)

    news = (await relay_store.notifications())[sent:]
    assert [each.kinds for each in news] == [[NotificationKind.RESOLVED]]
    assert news[0].incident is not None
    assert news[0].incident.reopened == 7


async def test_a_flapping_incident_that_stays_is_news_and_so_is_its_end(relay_store: Store) -> None:
    rests_at = await flap(relay_store, 8, end=False)
    (found,) = await due(relay_store, rests_at + 300)
    await run(relay_store, found, rests_at + 300)
    (still,) = (await relay_store.notifications())[-1:]

    await relay_store.receive(webhook(alert(starts_at=rests_at, ends_at=rests_at + 900)), rests_at + 900)

    (over,) = (await relay_store.notifications())[-1:]
    assert [still.kinds, over.kinds] == [[NotificationKind.REPEATED], [NotificationKind.RESOLVED]]


async def test_a_timer_follows_a_clock_that_is_put_back(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    await command(relay_store, Acknowledge(), START)
    back = START - 24 * HOUR

    assert await relay_store.database.read("timers", partial(timer_store.is_ahead, now=back))
    await relay_store.database.write("timers", partial(timer_store.follow_clock, now=back))

    assert await due(relay_store, back + 4 * HOUR - 1) == []
    assert len(await due(relay_store, back + 4 * HOUR)) == 1
    assert not await relay_store.database.read("timers", partial(timer_store.is_ahead, now=back))
