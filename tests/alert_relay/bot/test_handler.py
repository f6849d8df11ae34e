"""Taps that come late, are forged, or are about an incident that has changed; on a real database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import orjson

from services.alert_relay.bot.handler import RelayHandler, RelayReaction
from services.alert_relay.commands import Performed
from services.alert_relay.incidents.incident import Refusal
from services.alert_relay.notifications.store import NotificationTarget
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Submission
from services.updates import parse
from services.updates.handler import ReceivedUpdate
from services.updates.stored_updates.store import StoredUpdate
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook
from tests.databases import on_sqlite

pytestmark = on_sqlite
ADA, BOB, MALLORY = 1001, 1002, 1003
UNKNOWN = "This button is not known here any more."


@dataclass
class Relay:
    """What the handler uses of the relay."""

    store: Store
    recorded: list[Performed] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.store.database

    def target(self, parent: TraceContext | None = None) -> NotificationTarget:
        assert parent is not None
        return self.store.target()

    def record(self, performed: Performed, now: float) -> None:
        assert now >= START
        self.recorded.append(performed)

    def record_enqueued(self, submissions: Sequence[Submission]) -> None:
        assert submissions


async def tap(
    store: Store,
    data: str,
    *,
    person: int = ADA,
    chat_id: int | None = ADA,
    users: Iterable[int] = (),
    chats: tuple[int, ...] = (ADA, -2002),
) -> RelayReaction:
    handler = RelayHandler(Relay(store), lambda: chats, list(users), own_bot=True)
    message = {} if chat_id is None else {"message": {"message_id": 7, "chat": {"id": chat_id}}}
    query = {"id": "1", "from": {"id": person, "first_name": f"Person {person}"}, "data": data}
    body = {"update_id": 1, "callback_query": query | message}
    stored = StoredUpdate(1, "alerts", 1, "callback_query", orjson.dumps(body).decode(), START, 0)
    span = store.telemetry.new_trace()
    context = handler.context(ReceivedUpdate(stored, parse.parse_update(body), span, START + 30))
    return await store.database.write("update_act", partial(handler.react, context=context))


def toast(reaction: RelayReaction) -> str:
    (call,) = reaction.bot_calls
    return str(call.data["text"])


async def data(store: Store, action: str, version: int = 1) -> str:
    (incident,) = await store.incidents()
    return f"inc:{action}:{UUID(incident['id']).hex}:{version}"


async def test_resolve_is_refused_if_the_incident_has_changed_since_the_message(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a")))
    button = await data(relay_store, "r")
    await relay_store.receive(webhook(alert("a"), alert("b")), START + 5)

    reaction = await tap(relay_store, button)

    assert toast(reaction) == "The incident has changed meanwhile. Look at its message, and tap again."
    assert reaction.performed is not None
    assert reaction.performed.refusal is Refusal.MOVED_ON


async def test_who_takes_an_incident_takes_it_as_it_is(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a")))
    button = await data(relay_store, "a")
    await relay_store.receive(webhook(alert("a"), alert("b")), START + 5)

    assert toast(await tap(relay_store, button)) == "You handle the incident now."


async def test_a_late_tap_says_that_the_incident_is_resolved(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    button = await data(relay_store, "a")
    await relay_store.receive(webhook(alert(ends_at=START + 10)), START + 10)

    assert toast(await tap(relay_store, button)) == "The incident is resolved already."


async def test_forged_and_foreign_taps_change_nothing(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    button = await data(relay_store, "a")
    for forged in (f"inc:x:{'0' * 32}:1", f"inc:a:{'0' * 32}:1", "inc:", "inc:a:zz:1", f"{button}0000000000"):
        assert toast(await tap(relay_store, forged)) == UNKNOWN
    foreign = [
        await tap(relay_store, button, chat_id=-999),
        await tap(relay_store, button, chat_id=None),
        await tap(relay_store, button, person=MALLORY, users=[ADA]),
        await tap(relay_store, button, chats=()),
    ]

    assert all(toast(each).startswith("You may not handle incidents here") for each in foreign)
    (incident,) = await relay_store.incidents()
    assert incident["version"] == 1


async def test_a_named_user_may_tap_a_message_that_telegram_has_no_more(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    button = await data(relay_store, "a")

    reaction = await tap(relay_store, button, person=BOB, chat_id=None, users=[BOB])

    assert toast(reaction) == "You handle the incident now."
