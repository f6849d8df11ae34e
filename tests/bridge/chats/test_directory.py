"""Chats by name and by @username, everywhere a client names a chat: with a bridge and the sandbox."""

from typing import Any

import httpx
import pytest

from tests import servers
from tests.bridge.people import ADA, TEAM, Bridge, bridge_of
from tests.conftest import BridgeFactory
from tests.ports import free_port
from tests.servers import Sandbox

OPS = -1_001_000_000_077
HELLO: dict[str, Any] = {"type": "custom_event", "title": "hello"}


async def name(bridge: Bridge, chat_id: int, text: str) -> None:
    answer = await bridge.client.patch(f"/api/v1/chats/{chat_id}", json={"name": text})
    assert answer.status_code == 200, answer.text


async def chats_of(bridge: Bridge, accepted: dict[str, Any]) -> list[int]:
    return [(await bridge.message(one))["chat_id"] for one in accepted["message_ids"]]


async def refused(bridge: Bridge, path: str = "/api/v1/events", **fields: Any) -> list[dict[str, Any]]:
    answer = await bridge.client.post(path, json=HELLO | fields)
    assert answer.status_code == 422, answer.text
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return errors


@pytest.fixture
async def public(sandbox: Sandbox) -> Sandbox:
    """A sandbox with the public group @Ops_Alerts."""
    group = {"id": OPS, "type": "supergroup", "title": "Operations", "username": "Ops_Alerts"}
    await sandbox.post("/chats", group)
    return sandbox


async def test_a_name_is_found_whatever_its_case_and_an_unknown_one_gets_a_hint(talk: Bridge) -> None:
    """On both databases, since the names are read from them."""
    await name(talk, TEAM, "Backend Team")
    assert await chats_of(talk, await talk.post(chat_id="backend team")) == [TEAM]
    assert await chats_of(talk, await talk.post(chat_id=[str(ADA), "BACKEND TEAM"])) == [ADA, TEAM]
    assert await refused(talk, chat_id="Backend Teem") == [
        {"loc": ["chat_id"], "msg": 'no chat has this name; did you mean "Backend Team"?'}
    ]
    await name(talk, ADA, "backend team")
    (error,) = await refused(talk, chat_id="Backend Team")
    assert error["msg"] == f"2 chats have this name: {TEAM}, {ADA}; write the id"


async def test_a_group_that_became_a_supergroup_keeps_its_name(quick: Bridge, sandbox: Sandbox) -> None:
    await name(quick, TEAM, "Team")
    await sandbox.post(f"/chats/{TEAM}/upgrade", {"new_id": OPS}, method="PUT")
    accepted = await quick.post(chat_id=TEAM)
    await quick.until_message(accepted["message_ids"][0], "delivered")
    assert await chats_of(quick, await quick.post(chat_id="Team")) == [OPS]


async def test_telegram_is_asked_once_for_a_username(quick: Bridge, public: Sandbox) -> None:
    assert await chats_of(quick, await quick.post(chat_id="@ops_alerts")) == [OPS]
    await public.faults({"methods": ["getChat"], "kind": "answer", "status": 502, "times": None})
    assert await chats_of(quick, await quick.post(chat_id="@Ops_Alerts")) == [OPS]


async def test_a_username_that_telegram_does_not_know_is_refused_in_its_words(quick: Bridge) -> None:
    (error,) = await refused(quick, chat_id="@nobody_at_all")
    assert error["loc"] == ["chat_id"]
    assert "Chat not found" in error["msg"]


async def test_a_person_who_wrote_to_the_bot_is_found_by_the_username(
    quick: Bridge, sandbox: Sandbox
) -> None:
    assert (await refused(quick, chat_id="@ada"))[0]["loc"] == ["chat_id"]
    await sandbox.post(f"/chats/{ADA}/say", {"text": "hello"})

    async def is_stored() -> bool:
        return bool(await quick.responses())

    await servers.until(is_stored)
    assert await chats_of(quick, await quick.post(chat_id="@Ada", bot="default")) == [ADA]


async def test_nothing_is_accepted_while_telegram_cannot_be_asked(quick: Bridge, public: Sandbox) -> None:
    await public.faults({"methods": ["getChat"], "kind": "answer", "status": 502, "times": None})
    for path, body in (("/api/v1/events", HELLO), ("/api/v1/approvals", {"title": "Go?", "prompt": "go"})):
        answer = await quick.client.post(path, json=body | {"chat_id": "@ops_alerts"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "@ops_alerts" in answer.json()["detail"]
    assert (await quick.client.get("/api/v1/messages")).json()["items"] == []


async def test_a_server_that_is_away_is_a_503(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(telegram_api_url=f"http://127.0.0.1:{free_port()}")
    async with bridge_of(settings) as bridge:
        answer = await bridge.client.post("/events", json=HELLO | {"chat_id": "@ops_alerts"})
    assert (answer.status_code, answer.json()["title"]) == (503, "Telegram not reached")


async def test_a_repetition_with_its_key_gets_the_first_answer_though_the_name_is_gone(
    quick: Bridge,
) -> None:
    await name(quick, TEAM, "Team")
    key = {"Idempotency-Key": "one"}
    first = await quick.client.post("/events", json=HELLO | {"chat_id": "Team"}, headers=key)
    await name(quick, TEAM, "Other")
    second = await quick.client.post("/events", json=HELLO | {"chat_id": "Team"}, headers=key)
    assert (second.status_code, second.json()) == (202, first.json())


async def test_questions_routes_texts_and_chats_take_names(quick: Bridge, public: Sandbox) -> None:
    await name(quick, TEAM, "Team")
    asked = await quick.ask(chat_id=["Team", "@ops_alerts"])
    assert [one["chat_id"] for one in asked["messages"]] == [TEAM, OPS]
    answer = await quick.client.post(
        "/api/v1/approvals", json={"title": "Go?", "prompt": "go", "chat_id": ["Team", TEAM]}
    )
    assert answer.json()["errors"] == [{"loc": ["body", "chat_id", 1], "msg": "a recipient is named twice"}]

    sent = await quick.client.post("/send", params={"chat": f"Team, {ADA}"}, content="Backup done")
    assert await chats_of(quick, sent.json()) == [TEAM, ADA]
    sent = await quick.client.post("/send", params={"chat": "Teem"}, content="Backup done")
    assert [error["loc"] for error in sent.json()["errors"]] == [["query", "chat"]]

    rule = {"name": "all", "to": [{"chat_id": "Team"}, {"chat_id": "@ops_alerts"}]}
    wrong = {"name": "wrong", "to": [{"chat_id": "Tea"}]}
    answer = await quick.client.put("/api/v1/routes", json={"routes": [rule, wrong]})
    (error,) = answer.json()["errors"]
    assert (error["loc"], "Team" in error["msg"]) == (["body", "routes", 1, "to", 0, "chat_id"], True)
    other = {"name": "other", "to": [{"chat_id": "@ops_alerts", "bot": "nobody"}]}
    answer = await quick.client.put("/api/v1/routes", json={"routes": [other]})
    assert "no bot is named nobody" in answer.json()["errors"][0]["msg"]
    answer = await quick.client.put("/api/v1/routes", json={"routes": [rule]})
    assert [to["chat_id"] for to in answer.json()["routes"][0]["to"]] == ["Team", "@ops_alerts"]
    assert await chats_of(quick, await quick.post()) == [TEAM, OPS]
    trial = (await quick.client.post("/api/v1/routes/test", json={"event": HELLO})).json()
    assert [(one["chat_id"], one["rule"]) for one in trial["recipients"]] == [(TEAM, "all"), (OPS, "all")]

    shown = (await quick.client.get("/api/v1/chats/team")).json()
    assert (shown["chat_id"], shown["name"]) == (TEAM, "Team")
    (error,) = (await quick.client.get("/api/v1/chats/Tea")).json()["errors"]
    assert error["loc"] == ["path", "chat_id"]


async def test_a_route_whose_chat_lost_its_name_loses_no_event(quick: Bridge) -> None:
    await name(quick, TEAM, "Team")
    rule = {"name": "all", "to": [{"chat_id": "Team"}]}
    assert (await quick.client.put("/api/v1/routes", json={"routes": [rule]})).status_code == 200
    await name(quick, TEAM, "Other")
    answer: httpx.Response = await quick.client.post("/events", json=HELLO)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert "The route all names the chat Team" in answer.json()["detail"]
