"""An incident that stays unacknowledged reaches the levels of its policy; on a real database."""

from collections.abc import Mapping, Sequence
from functools import partial

import pytest
from sqlalchemy import Connection, update

from services.alert_relay import commands, timers
from services.alert_relay.escalation import levels
from services.alert_relay.incidents import timers as timer_store
from services.alert_relay.incidents.incident import (
    Acknowledge,
    Actor,
    ActorKind,
    Command,
    Escalate,
    Refusal,
    Unacknowledge,
)
from services.alert_relay.notifications import render
from services.alert_relay.notifications.notification import Purpose, from_json
from services.alert_relay.timers import Performed
from services.outbox.schema import event, message
from tests.alert_relay.conftest import Store
from tests.alert_relay.escalation_policy import MANAGER, ONCALL, OTHERS, TEAM, ThreeLevels
from tests.alert_relay.payloads import START, alert, webhook

ADA = Actor(ActorKind.TELEGRAM, "Ada", 1001)
MINUTE = 60.0
#: A chat of the tests, by its id.
CHATS = {int(each.address): each for each in (ONCALL, TEAM, MANAGER, OTHERS)}


@pytest.fixture
def escalating(relay_store: Store) -> Store:
    relay_store.router = ThreeLevels()
    return relay_store


async def pass_to(store: Store, now: float, *, delivered: bool = False) -> list[Performed]:
    """Does what is due until that time, each at its time; ``delivered``: all messages arrive meanwhile."""
    done = []
    if delivered:
        await settle(store, dict.fromkeys(CHATS, "delivered"))
    while found := await store.database.read("timers", partial(timer_store.due, now=now)):
        at = max(found[0].due_at, START)
        work = partial(timers.perform, found=found[0], target=store.target(), now=at)
        done.append(await store.database.write("timers", work))
        if delivered:
            await settle(store, dict.fromkeys(CHATS, "delivered"))
    return done


async def command(
    store: Store, wanted: Command, now: float, version: int | None = None
) -> commands.Performed:
    return await store.perform(wanted, now, actor=ADA, version=version)


async def settle(store: Store, states: Mapping[int, str]) -> None:
    """Ends the messages of chats that wait."""

    def work(connection: Connection) -> None:
        for chat_id, state in states.items():
            waiting = (message.c.chat_id == chat_id, message.c.state == "queued")
            connection.execute(update(message).where(*waiting).values(state=state))

    await store.database.write("settle", work)


async def sent(store: Store) -> list[tuple[Purpose, int]]:
    """Returns the purpose and the chat of each message, in the order of sending."""
    purposes = {each["id"]: from_json(each["body"]).purpose for each in await store.rows(event)}
    return [(purposes[each["event_id"]], each["chat_id"]) for each in await store.rows(message)]


async def loud(store: Store) -> list[tuple[Purpose, int]]:
    return [each for each in await sent(store) if each[0] is not Purpose.CHANGED]


async def test_an_incident_that_is_not_acknowledged_reaches_all_levels_and_then_once_more(
    escalating: Store,
) -> None:
    await escalating.receive(webhook(alert()))
    assert await loud(escalating) == [(Purpose.OPENED, 1001)]

    await pass_to(escalating, START + 5 * MINUTE - 1, delivered=True)
    assert len(await loud(escalating)) == 1
    await pass_to(escalating, START + 5 * MINUTE, delivered=True)
    assert (await loud(escalating))[1:] == [(Purpose.NEWS, 1001), (Purpose.OPENED, 1002)]
    await pass_to(escalating, START + 15 * MINUTE, delivered=True)
    assert (await loud(escalating))[3:] == [(Purpose.OPENED, 1003)]
    await pass_to(escalating, START + 3 * 60 * MINUTE, delivered=True)

    again = [(Purpose.NEWS, 1001), (Purpose.NEWS, 1001), (Purpose.NEWS, 1002), (Purpose.NEWS, 1003)]
    assert (await loud(escalating))[4:] == again
    (incident,) = await escalating.incidents()
    assert (incident["level"], incident["round"], incident["policy"]) == (2, 1, "default")


@pytest.mark.parametrize("resolved", [False, True])
async def test_nothing_is_escalated_once_a_person_handles_the_incident_or_it_has_ended(
    escalating: Store, *, resolved: bool
) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    if resolved:
        await escalating.receive(webhook(alert(ends_at=START + MINUTE)), START + MINUTE)
    else:
        await command(escalating, Acknowledge(), START + MINUTE)
    before = await sent(escalating)

    done = await pass_to(escalating, START + 24 * 60 * MINUTE)

    assert await sent(escalating) == before
    assert [each.escalation.level for each in done if each.escalation] == []


async def test_an_incident_that_is_given_back_has_its_levels_from_then_on(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    await command(escalating, Acknowledge(), START + MINUTE)
    await command(escalating, Unacknowledge(), START + 10 * MINUTE)

    await pass_to(escalating, START + 15 * MINUTE - 1)
    assert await loud(escalating) == [(Purpose.OPENED, 1001)]
    await pass_to(escalating, START + 15 * MINUTE)

    assert (Purpose.OPENED, 1002) in await loud(escalating)


async def test_the_end_of_an_incident_reaches_everybody_who_was_notified_of_it(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    await pass_to(escalating, START + 5 * MINUTE)
    before = len(await loud(escalating))

    await escalating.receive(webhook(alert(ends_at=START + 6 * MINUTE)), START + 6 * MINUTE)

    assert sorted((await loud(escalating))[before:]) == [(Purpose.NEWS, 1001), (Purpose.NEWS, 1002)]


async def test_each_target_gets_answers_to_its_own_first_message(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    await pass_to(escalating, START + 5 * MINUTE)
    await escalating.receive(webhook(alert(ends_at=START + 6 * MINUTE)), START + 6 * MINUTE)

    events = await escalating.rows(event)
    chats: dict[str, list[int]] = {}
    for each in await escalating.rows(message):
        chats.setdefault(each["event_id"], []).append(each["chat_id"])
    bodies = {each["id"]: from_json(each["body"]) for each in events}
    first = {chats[key][0]: key for key, body in bodies.items() if body.purpose is Purpose.OPENED}
    answered = {
        chat_id: body.incident.first_event
        for key, body in bodies.items()
        if body.purpose is Purpose.NEWS and body.incident is not None
        for chat_id in chats[key]
    }
    assert answered == first


async def test_a_level_whose_notification_does_not_arrive_is_left_early(escalating: Store) -> None:
    """The deadline of the receipt is a minute: the next level does not wait for its five."""
    await escalating.receive(webhook(alert()))

    (done,) = await pass_to(escalating, START + MINUTE)

    assert done.escalation is not None
    assert (done.escalation.level, done.escalation.cause.value) == (2, "undelivered")
    assert (Purpose.OPENED, 1002) in await loud(escalating)


async def test_a_dead_letter_of_the_only_message_escalates_at_once(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "dead_letter"})
    (stored,) = await escalating.rows(event)
    work = partial(levels.note_failure, event_ids=[stored["id"]], now=START + 2)
    await escalating.database.write("timers", work)

    (done,) = await pass_to(escalating, START + 2)

    assert done.escalation is not None
    assert done.escalation.level == 2


async def test_a_dead_letter_beside_a_message_that_arrived_escalates_nothing(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    await pass_to(escalating, START + 5 * MINUTE)
    await settle(escalating, {1001: "delivered", 1002: "dead_letter"})
    ids = [each["id"] for each in await escalating.rows(event)]
    work = partial(levels.note_failure, event_ids=ids, now=START + 6 * MINUTE)
    await escalating.database.write("timers", work)

    assert await pass_to(escalating, START + 7 * MINUTE) == [Performed()]


async def test_behind_the_last_level_the_fallback_gets_what_did_not_arrive(escalating: Store) -> None:
    escalating.router = ThreeLevels(rounds=1)
    await escalating.receive(webhook(alert()))

    done = await pass_to(escalating, START + 30 * MINUTE)

    reached = [(each.escalation.level, list(each.escalation.fallback)) for each in done if each.escalation]
    assert reached[:3] == [(2, []), (3, []), (None, ["telegram"])]
    assert (await loud(escalating))[-1] == (Purpose.OPENED, 1009)


async def test_a_person_escalates_now_and_a_repetition_changes_nothing(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await command(escalating, Acknowledge(), START + MINUTE)

    for _ in range(2):
        await command(escalating, Escalate(), START + 2 * MINUTE, version=2)

    (incident,) = await escalating.incidents()
    assert (incident["state"], incident["level"]) == ("acknowledged", 1)
    assert [each for each in await loud(escalating) if each[1] == 1002] == [(Purpose.OPENED, 1002)]


async def test_behind_the_last_level_a_person_learns_that_there_is_none(escalating: Store) -> None:
    escalating.router = ThreeLevels(rounds=1)
    await escalating.receive(webhook(alert()))
    for number in range(3):
        done = await command(escalating, Escalate(), START + number)

    assert (done.refusal, done.changed) == (Refusal.NO_LEVEL, False)


async def test_a_new_round_does_not_begin_early_where_nothing_arrives(escalating: Store) -> None:
    """Every channel refuses everything: the levels of one round pass, and the next round has its own time."""
    await escalating.receive(webhook(alert()))

    for minute in range(30):
        await settle(escalating, dict.fromkeys(CHATS, "dead_letter"))
        failed = [each["id"] for each in await escalating.rows(event)]
        now = START + minute * MINUTE
        work = partial(levels.note_failure, event_ids=failed, now=now)
        await escalating.database.write("timers", work)
        await pass_to(escalating, now)
    (incident,) = await escalating.incidents()

    assert (incident["level"], incident["round"]) == (2, 0)
    assert [each for each in await loud(escalating) if each[1] == 1009] == [(Purpose.OPENED, 1009)]


async def test_the_timeline_says_why_and_whom(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    await pass_to(escalating, START + 5 * MINUTE)

    (incident,) = await escalating.incidents()
    entries = (await escalating.incident(incident["id"]))["entries"]
    (escalated,) = [each for each in entries if each["kind"] == "escalated"]
    assert escalated["detail"] == {
        "level": 2,
        "round": 1,
        "cause": "unacknowledged",
        "version": 1,
        "targets": ["telegram:1001", "telegram:1002"],
    }


async def test_the_message_says_that_it_is_an_escalation(escalating: Store) -> None:
    await escalating.receive(webhook(alert()))
    await settle(escalating, {1001: "delivered"})
    await pass_to(escalating, START + 5 * MINUTE)

    bodies: Sequence[str] = [each["body"] for each in await escalating.rows(event)]
    texts = [render.text_of(from_json(each)).text for each in bodies]
    assert all("Escalated to level 2" in each for each in texts[1:])
    assert "Escalated" not in texts[0]
