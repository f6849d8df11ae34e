"""Both clients at a real bridge: each method returns what the API promises."""

from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.alert_relay import app as relay_app
from services.alert_relay.settings import AlertRelaySettings
from services.client.call import Service
from services.client.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotAuthorizedError,
    NotFoundError,
)
from services.contracts.alertmanager import Status
from services.contracts.approvals import NewApproval
from services.contracts.chats import ChatChanges, ChatSettings, QuietHours
from services.contracts.events import NewEvent
from services.contracts.health import HealthReport
from services.contracts.keys import NewKey, Scope
from services.contracts.routes import NewRoutes, RuleDocument, TargetDocument
from services.demo import alert
from services.kit import runner
from tests.bridge.people import ADA, GRACE, Bridge, People
from tests.client.both import Either, either
from tests.client.test_restart import until_kind
from tests.servers import KEY, Sandbox, until

GONE = 424_242


def event(**fields: object) -> NewEvent:
    return NewEvent.model_validate({"type": "task_completion", "title": "Done"} | fields)


async def test_an_event_is_posted_and_its_messages_followed_to_their_end(cct: Either) -> None:
    accepted = await cct.send(event(chat_id=[ADA, GRACE], correlation_id="order-7"))
    ended = await cct.ended(accepted.message_ids, within=30)
    assert [message.status for message in ended] == ["delivered", "delivered"]
    assert [message.chat_id for message in ended] == [ADA, GRACE]
    assert (await cct.event(accepted.event_id)).correlation_id == "order-7"
    found = await cct.messages(correlation_id="order-7", status=["delivered"], limit=1)
    assert len(found.items) == 1
    assert (await cct.correlation("order-7")).states == {"delivered": 2}
    assert (await cct.traces(active=False)).items
    assert (await cct.message_callbacks(accepted.message_ids[0])).items == []


async def test_every_message_is_found_over_all_pages(cct: Either) -> None:
    batch = await cct.send_all([event(title=f"Step {number}") for number in range(7)], key="steps")
    again = await cct.send_all([event(title=f"Step {number}") for number in range(7)], key="steps")
    assert again == batch
    found = [message.title async for message in cct.items("every_message", limit=3)]
    assert found == [f"Step {number}" for number in range(6, -1, -1)]


async def test_a_wrong_field_is_named(cct: Either) -> None:
    with pytest.raises(InvalidInputError) as error:
        await cct.send(event(type="task_progress", bot="nobody"))
    assert error.value.errors[0].loc[-1] == "bot"
    with pytest.raises(NotFoundError):
        await cct.message("no-such-message")


async def test_a_message_is_cancelled_and_replayed(cct: Either) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    message_id = (await cct.send(event(deliver_at=later.isoformat()))).message_ids[0]
    assert (await cct.cancel(message_id, reason="by mistake")).state == "cancelled"
    with pytest.raises(ConflictError) as error:
        await cct.cancel(message_id)
    assert error.value.document["state"] == "cancelled"
    assert (await cct.replay(message_id)).state == "queued"


async def test_dead_letters_are_replayed_by_a_job(cct: Either) -> None:
    accepted = await cct.send(event(chat_id=GONE))
    (message,) = await cct.ended(accepted.message_ids, within=30)
    assert message.status == "dead_letter"
    (letter,) = (await cct.dead_letters(chat_id=GONE)).items
    assert letter.reason == "chat_not_found"
    started = await cct.replay_all(reason=["chat_not_found"], why="the chat is back")
    *_, ended = [job async for job in cct.items("progress", started.id)]
    assert (ended.status, ended.progress.replayed) == ("done", 1)
    assert [job.id for job in (await cct.jobs(status="done")).items] == [started.id]
    with pytest.raises(ConflictError):
        await cct.cancel_job(started.id)
    (message,) = await cct.ended(accepted.message_ids, within=30)
    assert message.attempts_made == 2
    assert [each.id async for each in cct.items("every_dead_letter")] == accepted.message_ids


async def test_a_person_answers_a_question(cct: Either, people: People) -> None:
    asked = await cct.ask(NewApproval(title="Deploy 1.4?", prompt="make deploy"), key="deploy")
    assert (
        await cct.ask(NewApproval(title="Deploy 1.4?", prompt="make deploy"), key="deploy")
    ).id == asked.id
    await people.tap(await people.question(ADA), "Approve")
    closed = await cct.answer(asked.id, within=30)
    assert closed.decision is not None
    assert (closed.decision.option, closed.decision.user_id) == ("approve", ADA)
    assert [response.kind for response in (await cct.responses(wait=1)).items] == ["tap"]
    assert [each.id async for each in cct.items("every_approval", status="decided")] == [asked.id]


async def test_a_question_that_reaches_nobody_ends_the_wait_and_is_in_the_stream(cct: Either) -> None:
    async with aclosing(cct.items("stream")) as items:
        position = (await until_kind(items, "ready")).id
    asked = await cct.ask(NewApproval(title="Deploy?", prompt="make deploy", chat_id=GONE))
    found = await cct.answer(asked.id, within=30)
    assert (found.status, found.visible_in) == ("undelivered", 0)
    assert [each.id for each in (await cct.approvals(status="undelivered")).items] == [asked.id]
    async with aclosing(cct.items("stream", after=position)) as items:
        news = (await until_kind(items, "approval")).approval
    assert news is not None
    assert (news.approval_id, news.status, news.event_id) == (asked.id, "undelivered", asked.event_id)


async def test_a_question_is_decided_and_cancelled_by_programs(cct: Either) -> None:
    first = await cct.ask(NewApproval(title="Deploy?", prompt="make deploy"))
    assert (await cct.answer(first.id, within=0)).status == "open"
    assert (await cct.decide(first.id, "deny", by="bot", comment="no")).status == "decided"
    second = await cct.ask(NewApproval(title="Deploy?", prompt="make deploy"))
    assert (await cct.cancel_approval(second.id, reason="later")).reason == "later"
    with pytest.raises(ConflictError):
        await cct.decide(second.id, "approve")


async def test_keys_are_created_used_and_revoked(cct: Either, talk: Bridge) -> None:
    made = await cct.create_key(NewKey(name="ci", scopes=[Scope.EVENTS_WRITE]))
    assert (await cct.key(made.id)).name == "ci"
    assert (await cct.own_key()).name == "default"
    async with either("Client", str(talk.client.base_url), made.secret) as limited:
        await limited.send(event())
        with pytest.raises(ForbiddenError) as refused:
            await limited.messages()
        assert refused.value.scope == "messages:read"
        await cct.revoke_key(made.id)
        with pytest.raises(NotAuthorizedError):
            await limited.send(event())
    assert [key.status for key in (await cct.keys()).items] == ["revoked"]


async def test_chats_routes_and_callbacks_are_set(cct: Either) -> None:
    hours = QuietHours.model_validate({"from": "22:00", "to": "07:00"})
    await cct.set_chat(ADA, ChatSettings(name="Ada", quiet_hours=hours))
    assert (await cct.chat(ADA)).quiet_hours == hours
    await cct.change_chat(ADA, ChatChanges(quiet_hours=None))
    assert [(each.name, each.quiet_hours) for each in (await cct.chats()).items] == [("Ada", None)]
    rule = RuleDocument(name="builds", to=[TargetDocument(chat_id=GRACE)])
    assert (await cct.set_routes(NewRoutes(routes=[rule]))).version == 1
    assert (await cct.routes()).routes == [rule]
    tried = await cct.recipients(event())
    assert [(each.chat_id, each.rule) for each in tried.recipients] == [(GRACE, "builds")]
    with pytest.raises(ConflictError):
        await cct.set_routes(NewRoutes(routes=[], version=0))
    made = await cct.set_callback("ci", "https://ci.example/hook")
    assert made.secret.startswith("whsec_")
    assert [each.client for each in (await cct.callbacks()).items] == ["ci"]
    await cct.delete_callback("ci")
    assert (await cct.callbacks()).items == []


async def test_numbers_types_and_health_are_read(cct: Either) -> None:
    await cct.send(event())

    async def counted() -> bool:
        return bool((await cct.stats()).accepted_total == 1)

    await until(counted)
    assert (await cct.event_types("git")).count == 7
    health: HealthReport = await cct.health()
    assert "telegram_api" in health.components


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
async def test_alerts_become_incidents_that_are_read(kind: str, sandbox: Sandbox, tmp_path: Path) -> None:
    settings = AlertRelaySettings(port=0, api_key=KEY, data_dir=tmp_path, telegram_api_url=sandbox.url)
    async with (
        runner.running(relay_app.create_app, settings) as relay,
        either(kind, "https://cct.example.com", KEY, urls={Service.ALERT_RELAY: relay.url}) as cct,
    ):
        assert (await cct.send_alerts(alert(datetime.now(UTC), Status.FIRING, ""))).status == "alert_sent"
        (incident,) = [found async for found in cct.items("every_incident", state="firing")]
        assert (await cct.incident(incident.id)).alerts[0].labels["instance"] == "db-1"
        assert "database" in (await cct.health(Service.ALERT_RELAY)).components
