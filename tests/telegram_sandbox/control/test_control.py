"""The control API and its errors."""

from typing import Any

import pytest

from services.telegram_sandbox.settings import SandboxSettings
from tests import fuzzing, servers
from tests.telegram_sandbox.conftest import ADA, OPERATIONS, TEAM, SandboxServer, started


async def test_the_initial_chats_exist(server: SandboxServer) -> None:
    chats = {chat["id"]: chat for chat in (await server.get("/api/chats"))["chats"]}
    assert set(chats) == {ADA, 1002, TEAM, OPERATIONS}
    assert chats[OPERATIONS]["topics"] == [{"id": 1, "name": "General"}, {"id": 7, "name": "CI"}]


async def test_many_private_chats_are_created_at_once(server: SandboxServer) -> None:
    assert await server.control("/chats/range", {"first_id": 100_000, "count": 2_000}) == {"created": 2_000}
    assert await server.control("/chats/range", {"first_id": 100_000, "count": 2_001}) == {"created": 1}
    assert await server.result("sendMessage", chat_id=101_999, text="x")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": 5, "type": "group"}, 422),
        ({"id": -5}, 422),
        ({"id": 0}, 422),
        ({"id": ADA}, 409),
        ({"id": 5, "colour": "red"}, 422),
        ({"type": "group"}, 422),
    ],
)
async def test_an_invalid_chat_is_refused(server: SandboxServer, body: dict[str, Any], status: int) -> None:
    problem = await server.control("/chats", body, status=status)
    assert problem["status"] == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chats/5/say", {"text": "x"}, 404),
        (f"/chats/{ADA}/say", {"text": "  "}, 409),
        (f"/chats/{ADA}/say", {"text": "x", "reply_to": 5}, 409),
        (f"/chats/{ADA}/say", {"text": "x", "thread_id": 5}, 409),
        (f"/chats/{TEAM}/say", {"text": "x", "person_id": 5}, 409),
        (f"/chats/{ADA}/messages/5/tap", {"data": "x"}, 409),
        (f"/chats/{TEAM}/block", None, 409),
        (f"/chats/{TEAM}/deactivate", None, 409),
        (f"/chats/{ADA}/kick", None, 409),
        (f"/chats/{ADA}/delete", None, 409),
        (f"/chats/{ADA}/restrict", None, 409),
        (f"/chats/{ADA}/tickle", None, 422),
        ("/bots/5/revoke", None, 404),
        ("/bots", {"token": "nonsense"}, 422),
        ("/faults", {"kind": "smile"}, 422),
        ("/faults", {"kind": "close", "probability": 2}, 422),
        ("/faults", {"kind": "close", "deliver": 0.0}, 422),
        ("/faults", {"kind": "close", "deliver": "yes"}, 422),
        ("/clock/advance", {"seconds": -1}, 422),
    ],
)
async def test_an_impossible_action_is_a_problem_with_a_reason(
    server: SandboxServer, path: str, body: Any, status: int
) -> None:
    assert (await server.control(path, body, status=status))["title"]


async def test_a_missing_button_cannot_be_tapped(server: SandboxServer) -> None:
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}
    message = await server.result("sendMessage", chat_id=ADA, text="?", reply_markup=keyboard)
    path = f"/chats/{ADA}/messages/{message['message_id']}/tap"
    await server.control(path, {"data": "no"}, status=409)
    await server.control(path, {"text": "yes"}, status=409)
    await server.control(path, {"text": "Yes"}, status=201)


async def test_only_groups_are_upgraded_and_only_supergroups_have_topics(server: SandboxServer) -> None:
    await server.control(f"/chats/{ADA}/upgrade", {"new_id": -1001}, verb="PUT", status=409)
    await server.control(f"/chats/{TEAM}/upgrade", {"new_id": OPERATIONS}, verb="PUT", status=409)
    await server.control(f"/chats/{TEAM}/topics/5", {"name": "x"}, verb="PUT", status=409)


async def test_the_log_is_read_page_by_page(server: SandboxServer) -> None:
    for n in range(5):
        await server.result("sendMessage", chat_id=ADA, text=str(n))
    cursor, texts = 0, []
    while True:
        async with server.http.get(f"{server.url}/control/log?cursor={cursor}&limit=2") as page:
            lines = (await page.read()).splitlines()
            cursor = int(page.headers["X-Next-Cursor"])
        if not lines:
            break
        assert len(lines) <= 2
        texts += [line for line in lines if b'"sendMessage"' in line]
    assert len(texts) == 5
    assert cursor == server.sandbox.event_log.seq


async def test_entries_no_longer_in_memory_are_answered_410_with_the_file(settings: SandboxSettings) -> None:
    async with started(settings.model_copy(update={"sandbox_log_kept": 10})) as server:
        await server.control("/chats/range", {"first_id": 100_000, "count": 20})
        async with server.http.get(f"{server.url}/control/log") as answer:
            assert answer.status == 410
            assert "log.jsonl" in (await answer.json())["detail"]


async def test_limits_are_returned_and_changed_one_by_one(server: SandboxServer) -> None:
    before = await server.control("/limits", verb="GET")
    after = await server.control("/limits", {"group_per_minute": 5}, verb="PATCH")
    assert after == before | {"group_per_minute": 5}


async def test_faults_are_listed_and_removed(server: SandboxServer) -> None:
    ids = (await server.control("/faults", [{"kind": "close"}, {"kind": "hang", "seconds": 5}]))["ids"]
    assert [fault["kind"] for fault in await server.control("/faults", verb="GET")] == ["close", "hang"]
    await server.control(f"/faults/{ids[0]}", verb="DELETE")
    await server.control(f"/faults/{ids[0]}", verb="DELETE", status=404)
    assert [fault["id"] for fault in await server.control("/faults", verb="GET")] == [ids[1]]
    await server.control("/faults/seed", {"seed": 5}, verb="PUT")


async def test_bots_are_listed_without_their_tokens(server: SandboxServer) -> None:
    (bot,) = await server.control("/bots", verb="GET")
    assert bot["id"] == 1000000001
    assert "token-for-local" not in str(bot)


async def test_pending_updates_can_be_read_without_confirming_them(server: SandboxServer) -> None:
    await server.control(f"/chats/{ADA}/say", {"text": "x"})
    seen = await server.control("/bots/1000000001/updates", verb="GET")
    assert seen == await server.result("getUpdates")


async def test_a_reset_restores_the_initial_state_with_new_ids(server: SandboxServer) -> None:
    first = await server.result("sendMessage", chat_id=ADA, text="x")
    await server.control("/chats", {"id": 77})
    await server.control("/faults", {"kind": "close", "times": None})
    await server.control("/limits", {"enabled": True}, verb="PATCH")
    await server.control(f"/chats/{ADA}/say", {"text": "x"})
    await server.control("/reset")
    assert (await server.get(f"/api/chats/{ADA}/messages"))["messages"] == []
    assert (await server.get("/api/chats"))["total"] == 4
    assert (await server.control("/limits", verb="GET"))["enabled"] is False
    assert await server.result("getUpdates") == []
    assert (await server.result("sendMessage", chat_id=ADA, text="x"))["message_id"] > first["message_id"]


async def test_calls_are_counted_by_method_and_outcome(server: SandboxServer) -> None:
    await server.result("sendMessage", chat_id=ADA, text="x")
    await server.refusal("sendMessage", chat_id=5, text="x")
    await server.refusal("sendTelepathy")
    await server.control(f"/chats/{ADA}/say", {"text": "x"})
    async with server.http.get(server.url + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    assert 'telegram_sandbox_calls_total{method="sendMessage",outcome="ok"} 1.0' in lines
    assert 'telegram_sandbox_calls_total{method="sendMessage",outcome="refused"} 1.0' in lines
    assert 'telegram_sandbox_calls_total{method="unknown",outcome="refused"} 1.0' in lines
    assert "telegram_sandbox_pending_updates 1.0" in lines


async def test_the_service_is_healthy_once_its_log_is_open(server: SandboxServer) -> None:
    report = await server.get("/health")
    assert report["components"]["log"]["status"] in {"healthy", "unknown"}


@fuzzing.mark
async def test_no_input_causes_a_500_of_the_control_api(server: SandboxServer) -> None:
    """Schemathesis sends valid and invalid requests of the OpenAPI document."""
    async with servers.http(server.url) as client:
        await fuzzing.try_everything(
            client,
            examples=5,
            wanted=lambda path: path.startswith(("/control", "/api")) and path != "/api/stream",
        )
