"""An event of the type approval_request creates an approval, whose id is in the response."""

import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from services.bridge.approvals import approval, from_request, store
from services.bridge.approvals.from_event import EventApprovals
from services.bridge.approvals.reminders import Plan
from services.bridge.bots import Bot
from services.bridge.events import accept, addressed
from services.bridge.events.accept import Caller
from services.bridge.routes.routes import Routes, Rule, Target
from services.bridge.settings import BridgeSettings
from services.contracts.approvals import NewApproval
from services.contracts.details import EventData
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.rate_limit.limits import Limits
from tests.bridge.people import ADA, GRACE, TEAM, Bridge, People, bridge_of, buttons, text_of
from tests.bridge.webhooks.test_results import Program, listening
from tests.conftest import BridgeFactory
from tests.servers import until

EVENT: dict[str, Any] = {
    "type": "approval_request",
    "title": "Deploy 1.4?",
    "source": "ci",
    "data": {"approval_prompt": "git push production"},
}


def asking(**data: Any) -> dict[str, Any]:
    return EVENT | {"data": {"approval_prompt": "git push production"} | data}


async def post(bridge: Bridge, event: Any, **headers: str) -> httpx.Response:
    return await bridge.client.post("/api/v1/events", json=event, headers=headers)


async def posted(bridge: Bridge, event: Any = EVENT, **headers: str) -> dict[str, Any]:
    response = await post(bridge, event, **headers)
    assert response.status_code == 202, response.text
    return dict(response.json())


async def test_it_has_buttons_and_a_tap_decides(talk: Bridge, people: People) -> None:
    answer = await posted(talk, asking(options=["Ship it", "Hold"]))
    assert answer["links"]["approval"] == f"/api/v1/approvals/{answer['approval_id']}"
    shown = await people.question(ADA)
    assert buttons(shown) == ["Ship it", "Hold"]
    assert "git push production" in text_of(shown)
    sent = await talk.until_message(answer["message_ids"][0], "delivered")
    assert sent["telegram_message_ids"] == [shown["message_id"]]
    await people.tap(shown, "Hold")
    decided = await talk.until_status(answer["approval_id"], "decided")
    assert (decided["decision"]["option"], decided["decision"]["user_id"]) == ("Hold", ADA)
    assert buttons(await people.until_text(ADA, "☑️ Decided: Hold, by Ada")) == []


async def test_it_equals_an_approval_of_the_api_route(talk: Bridge, people: People) -> None:
    """All fields are equal, except those that differ for every approval."""
    mine = await talk.ask(source="ci", correlation_id="run-1", metadata={"build": 7})
    event = asking(metadata={"build": 7}) | {"correlation_id": "run-1"}
    other = await talk.approval((await posted(talk, event))["approval_id"])
    own = {
        "id",
        "code",
        "event_id",
        "trace_id",
        "created_at",
        "expires_at",
        "messages",
        "links",
        "visible_in",
    }
    assert {key: value for key, value in other.items() if key not in own} == {
        key: value for key, value in mine.items() if key not in own
    }
    assert [m["chat_id"] for m in other["messages"]] == [m["chat_id"] for m in mine["messages"]]
    assert (other["client"], other["bot"], other["approvers"]) == ("default", "default", [ADA, GRACE])


async def test_it_has_the_fields_of_an_approval(quick: Bridge) -> None:
    """Several people, reminders and escalation; or a text as the answer."""
    fields: dict[str, Any] = {
        "needed": 2,
        "remind_every": "1m",
        "remind_times": 2,
        "escalate_after": "5m",
        "escalate_to": [GRACE],
    }
    answer = await posted(quick, asking(**fields, options=["Go", "Stop"]))
    question = await quick.approval(answer["approval_id"])
    assert (question["needed"], question["answer"]) == (2, "option")
    await quick.decide(answer["approval_id"], "Go")
    assert (await quick.approval(answer["approval_id"]))["status"] == "open"

    asked = await posted(quick, asking(answer="text", max_length=5))
    question = await quick.approval(asked["approval_id"])
    assert (question["answer"], question["max_length"], question["options"]) == ("text", 5, [])
    path = f"/api/v1/approvals/{asked['approval_id']}/decide"
    assert (await quick.client.post(path, json={"text": "too long"})).status_code == 422
    assert (await quick.client.post(path, json={"text": "short"})).json()["decision"]["text"] == "short"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"needed": 3}, ["data", "needed"]),
        ({"needed": 0}, ["data", "needed"]),
        ({"escalate_after": "5m", "escalate_to": [ADA, 5]}, ["data", "escalate_to", 1]),
        ({"escalate_after": "5m"}, ["data", "escalate_after"]),
        ({"remind_times": 2}, ["data", "remind_times"]),
        ({"remind_every": "1s"}, ["data", "remind_every"]),
        ({"answer": "text", "options": ["Go"]}, ["data", "answer"]),
        ({"answer": "text", "needed": 2}, ["data", "answer"]),
        ({"max_length": 5}, ["data", "max_length"]),
    ],
)
def test_fields_that_do_not_go_together_are_refused_as_of_an_approval(
    data: dict[str, Any], place: list[Any]
) -> None:
    bots = {"default": Bot("default", "1:a", "", (ADA,), frozenset({ADA, GRACE}), Limits())}
    with pytest.raises(Problem) as refused:
        accept.accept(
            addressed.address(orjson.dumps(asking(**data)), Routes({"default": (ADA,)})),
            Caller("ci", None, "", None),
            TraceContext(1, 2, sampled=True),
            now=1e9,
            trace_url="",
            asks=EventApprovals(bots, 3_600.0),
        )
    assert [list(error["loc"]) for error in refused.value.errors or ()] == [place]


def test_a_question_for_a_bot_that_was_taken_away_lets_the_client_try_again() -> None:
    """The client cannot mend the route, and a file of EVENTS_DIR stays."""
    bots = {"default": Bot("default", "1:a", "", (ADA,), frozenset({ADA}), Limits())}
    routes = Routes({"default": (ADA,)}, (Rule("ops", (Target(ADA, bot="gone"),)),))
    with pytest.raises(Problem) as refused:
        accept.accept(
            addressed.address(orjson.dumps(EVENT), routes),
            Caller("ci", None, "", None),
            TraceContext(1, 2, sampled=True),
            now=1e9,
            trace_url="",
            asks=EventApprovals(bots, 3_600.0),
        )
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "60"})
    assert str(refused.value.detail).startswith("The route ops names the bot gone, and there is none")


def test_the_plan_of_an_event_is_that_of_an_approval() -> None:
    bot = Bot("default", "1:a", "", (ADA,), frozenset({ADA, GRACE}), Limits())
    fields = {"remind_every": "1m", "escalate_after": "5m", "escalate_to": [GRACE]}
    of_event = from_request.plan_of(EventData.model_validate(fields), bot, 1_000.0)
    approval = NewApproval.model_validate({"title": "Go?", "prompt": "go"} | fields)
    assert of_event == from_request.plan_of(approval, bot, 1_000.0)
    assert of_event == Plan(every=60.0, times=3, escalate_at=1_300.0, escalate_to=(GRACE,))


async def test_the_event_is_stored_as_it_was_posted(talk: Bridge) -> None:
    event = asking(tags=["prod"], url="https://ci.example/7") | {"task_id": "t-1"}
    answer = await posted(talk, event)
    found = (await talk.client.get(answer["links"]["event"])).json()
    assert found["event"] == event
    assert found["client"] == "default"
    assert [message["id"] for message in found["messages"]] == answer["message_ids"]


async def test_a_repeated_idempotency_key_creates_one_approval(talk: Bridge, people: People) -> None:
    first = await post(talk, EVENT, **{"Idempotency-Key": "k"})
    again = await post(talk, EVENT, **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await post(talk, asking(options=["else"]), **{"Idempotency-Key": "k"})
    assert other.status_code == 422
    await people.question(ADA)
    items = (await talk.client.get("/api/v1/approvals")).json()["items"]
    assert [item["id"] for item in items] == [first.json()["approval_id"]]
    await talk.until_metric("cctelegram_approvals_asked_total", 1.0)


async def test_a_batch_creates_its_approvals_in_order(talk: Bridge, people: People) -> None:
    batch = [
        {"type": "info_notification", "title": "before"},
        asking(options=["one"]) | {"chat_id": [ADA, GRACE]},
        {"type": "info_notification", "title": "after"},
        EVENT | {"title": "Second?"},
    ]
    accepted = (await posted(talk, batch))["accepted"]
    assert ["approval_id" in one for one in accepted] == [False, True, False, True]
    assert [len(one["message_ids"]) for one in accepted] == [1, 2, 1, 1]
    for one in accepted:
        for message_id in one["message_ids"]:
            await talk.until_message(message_id, "delivered")
    await people.tap(await people.question(GRACE), "one")
    assert (await talk.until_status(accepted[1]["approval_id"], "decided"))["decision"]["user_id"] == GRACE
    assert (await talk.approval(accepted[3]["approval_id"]))["status"] == "open"


async def test_a_batch_with_an_invalid_approval_stores_nothing(quick: Bridge) -> None:
    refused = await post(quick, [{"type": "x", "title": "t"}, asking(options=["Yes", "yes"])])
    assert refused.status_code == 422
    assert [entry["loc"] for entry in refused.json()["errors"]] == [[1, "data", "options"]]
    assert (await quick.client.get("/api/v1/messages")).json()["items"] == []
    assert (await quick.client.get("/api/v1/approvals")).json()["items"] == []


WRONG: list[tuple[dict[str, Any], list[str | int]]] = [
    (EVENT | {"data": {}}, ["data", "approval_prompt"]),
    (asking(options=["Yes", "YES"]), ["data", "options"]),
    (asking(options=["ok", "two\nlines"]), ["data", "options", 1]),
    (asking(options=["  "]), ["data", "options", 0]),
    (EVENT | {"deliver_at": "2026-01-01T00:00:00Z"}, ["deliver_at"]),
    (EVENT | {"update_key": "progress"}, ["update_key"]),
    (EVENT | {"expires_at": "2020-01-01T00:00:00Z"}, ["expires_at"]),
    (EVENT | {"expires_at": "9999-12-31T23:59:59-14:00"}, ["expires_at"]),
    (EVENT | {"callback_url": "http://10.0.0.1/"}, ["callback_url"]),
    (EVENT | {"bot": "nobody"}, ["bot"]),
]


async def test_what_an_approval_cannot_have_is_refused_with_the_field_of_the_event(quick: Bridge) -> None:
    for body, loc in WRONG:
        refused = await post(quick, body)
        assert (refused.status_code, body) == (422, body)
        assert [entry["loc"] for entry in refused.json()["errors"]] == [loc], refused.text
    assert (await quick.client.get("/api/v1/approvals")).json()["items"] == []


async def test_without_approvers_it_is_refused_with_the_reason(
    bridge_settings: BridgeFactory,
) -> None:
    async with bridge_of(bridge_settings(telegram_chat_ids=[TEAM])) as bridge:
        refused = await post(bridge, EVENT)
        assert refused.status_code == 422
        assert "TELEGRAM_ALLOWED_USERS" in refused.json()["errors"][0]["msg"]


async def test_the_event_says_whether_it_is_silent_and_when_it_expires(talk: Bridge, people: People) -> None:
    at = rfc3339(time.time() + 3 * 86_400)
    event = EVENT | {"chat_id": GRACE, "silent": True, "expires_at": at}
    answer = await posted(talk, event)
    assert (await talk.approval(answer["approval_id"]))["expires_at"] == at
    await people.question(GRACE)
    (call,) = await people.sandbox.delivered(GRACE)
    assert call["silent"] is True


async def test_a_prompt_that_is_too_long_is_sent_as_a_file(talk: Bridge, people: People) -> None:
    prompt = "".join(f"line {number}\n" for number in range(1_500))
    answer = await posted(talk, asking(approval_prompt=prompt))
    shown = await people.question(ADA)
    (document,) = [m for m in await people.messages(ADA) if "document" in m]
    assert document["message_id"] < shown["message_id"]
    assert "line 7" not in text_of(shown)
    await people.tap(shown, "Deny")
    assert (await talk.until_status(answer["approval_id"], "decided"))["decision"]["option"] == "deny"


async def test_the_result_is_sent_to_the_callback_of_the_event(
    settings: BridgeSettings, people: People
) -> None:
    async with listening() as program, bridge_of(settings) as bridge:
        answer = await posted(bridge, EVENT | {"callback_url": program.url, "correlation_id": "run-9"})
        await people.tap(await people.question(ADA), "Approve")
        result = await _of_type(program, "approval.decided")
        assert result["data"]["id"] == answer["approval_id"]
        assert result["data"]["correlation_id"] == "run-9"
        assert result["data"]["decision"]["option"] == "approve"
        # The callback also gets the end of the message, as for every event.
        assert (await _of_type(program, "message.delivered"))["data"]["message_id"] in answer["message_ids"]


async def _of_type(program: Program, wanted: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        bodies = [orjson.loads(body) for _, body in program.calls]
        return next((body for body in bodies if body["type"] == wanted), None)

    found = await until(look)
    assert found is not None
    return found


async def test_the_routes_choose_the_recipients(talk: Bridge, people: People) -> None:
    rules = [{"name": "questions", "type": "approval_request", "to": [{"chat_id": GRACE, "silent": True}]}]
    await talk.client.put("/api/v1/routes", json={"routes": rules})
    answer = await posted(talk)
    await people.question(GRACE)
    found = await talk.approval(answer["approval_id"])
    assert [message["chat_id"] for message in found["messages"]] == [GRACE]
    assert await people.messages(ADA) == []


async def test_a_file_in_the_folder_creates_an_approval(
    bridge_settings: BridgeFactory, people: People, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    settings = bridge_settings(events_dir=folder, telegram_allowed_users=[ADA])
    async with bridge_of(settings) as bridge:
        draft = tmp_path / "question.json"
        draft.write_bytes(orjson.dumps(EVENT))
        draft.rename(folder / "question.json")
        await people.tap(await people.question(ADA), "Approve")
        (approval,) = (await bridge.client.get("/api/v1/approvals")).json()["items"]
        decided = await bridge.until_status(approval["id"], "decided")
        assert (decided["client"], decided["decision"]["user_id"]) == ("folder", ADA)
        await bridge.until_metric("cctelegram_approvals_asked_total", 1.0)
        wrong = tmp_path / "wrong.json"
        wrong.write_bytes(orjson.dumps(asking(options=["a", "A"])))
        wrong.rename(folder / "wrong.json")

        async def rejected() -> bool:
            return (folder / "rejected" / "wrong.json").exists()

        await until(rejected)


async def test_a_code_that_another_approval_has_is_replaced(
    quick: Bridge, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await posted(quick)
    code = (await quick.approval(first["approval_id"]))["code"]
    codes = iter([code, "NEWEST"])
    monkeypatch.setattr(approval, "new_code", lambda: next(codes))
    second = await posted(quick, EVENT | {"title": "Another?"})
    assert (await quick.approval(second["approval_id"]))["code"] == "NEWEST"
    assert "NEWEST" in text_of(await people.question(ADA, "Another?"))


async def test_two_approvals_of_a_batch_never_share_a_code(
    quick: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter(["SAME22", "SAME22", "ONE222", "TWO222"])
    monkeypatch.setattr(approval, "new_code", lambda: next(codes))
    accepted = (await posted(quick, [EVENT, EVENT]))["accepted"]
    assert [(await quick.approval(one["approval_id"]))["code"] for one in accepted] == ["ONE222", "TWO222"]


async def test_the_approval_and_its_event_are_stored_in_one_transaction(
    talk: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk of this test")

    monkeypatch.setattr(store, "add_messages", fails)
    failed = await post(talk, EVENT)
    assert failed.status_code >= 500
    monkeypatch.undo()
    assert (await talk.client.get("/api/v1/messages")).json()["items"] == []
    assert (await talk.client.get("/api/v1/approvals")).json()["items"] == []
