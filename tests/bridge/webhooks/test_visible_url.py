"""The secret part of a webhook's URL is for the client that set it, and for administrators."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from services.bridge.webhooks.visible_url import visible_body, visible_event, visible_url
from tests.servers import until

WHOLE = "http://127.0.0.1:9/hook/s3cret-path?token=s3cret"
VISIBLE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("url", "visible"),
    [
        (WHOLE, VISIBLE),
        ("https://ci.example/hooks", "https://ci.example"),
        ("https://user:s3cret@ci.example:8443/?x#y", "https://ci.example:8443"),
        ("http://[2001:db8::1]:80/a", "http://[2001:db8::1]:80"),
    ],
)
def test_of_a_url_the_origin_is_visible(url: str, visible: str) -> None:
    assert visible_url(url) == visible


def test_an_event_without_a_callback_stays_as_it_was_posted() -> None:
    events: list[Any] = [{"title": "a"}, {"callback_url": None}, [], "text"]
    for event in events:
        assert visible_event(event) is event
    body = '{"title": "as written",  "data": {}}'
    assert visible_body(body) is body


def test_the_event_in_a_message_of_the_bot_is_covered() -> None:
    body = orjson.dumps({"said": {}, "event": {"title": "a", "callback_url": WHOLE}}).decode()
    assert orjson.loads(visible_body(body))["event"] == {"title": "a", "callback_url": VISIBLE}


async def client_with(bridge: httpx.AsyncClient, name: str, *scopes: str) -> dict[str, str]:
    made = await bridge.post("/api/v1/keys", json={"name": name, "scopes": scopes})
    return {"Authorization": f"Bearer {made.json()['secret']}"}


async def test_who_may_read_messages_does_not_read_the_secrets_of_callbacks(
    bridge: httpx.AsyncClient,
) -> None:
    owner = await client_with(bridge, "owner", "events:write", "messages:read")
    other = await client_with(bridge, "other", "messages:read")
    event = {"type": "custom_event", "title": "hello", "chat_id": 1001, "callback_url": WHOLE}
    posted = (await bridge.post("/api/v1/events", json=event, headers=owner)).json()
    message_id = posted["message_ids"][0]
    calls = f"/api/v1/messages/{message_id}/callbacks"

    async def called() -> bool:
        return bool((await bridge.get(calls)).json()["items"])

    await until(called)
    assert (await bridge.get(calls)).json()["items"][0]["url"] == WHOLE
    for reader in (owner, other):
        assert (await bridge.get(calls, headers=reader)).json()["items"][0]["url"] == VISIBLE
    paths = (posted["links"]["event"], f"/api/v1/messages/{message_id}")
    for path in paths:
        assert "s3cret" not in (await bridge.get(path, headers=other)).text, path
        assert "s3cret" in (await bridge.get(path, headers=owner)).text, path
        assert "s3cret" in (await bridge.get(path)).text, path
    for path in ("/api/v1/messages", "/api/v1/traces?active=false", "/api/v1/dead-letters"):
        assert "s3cret" not in (await bridge.get(path, headers=other)).text, path


async def test_who_may_read_approvals_does_not_read_the_secrets_of_their_callbacks(
    bridge: httpx.AsyncClient,
) -> None:
    owner = await client_with(bridge, "owner", "approvals:write", "approvals:read")
    other = await client_with(bridge, "other", "approvals:read", "approvals:write")
    question = {"title": "Deploy?", "prompt": "now", "approvers": [1001], "chat_id": 1001}
    asked = await bridge.post("/api/v1/approvals", json=question | {"callback_url": WHOLE}, headers=owner)
    assert asked.json()["callback_url"] == WHOLE
    path = f"/api/v1/approvals/{asked.json()['id']}"
    for each in (path, "/api/v1/approvals"):
        assert "s3cret" not in (await bridge.get(each, headers=other)).text
        assert "s3cret" in (await bridge.get(each, headers=owner)).text
        assert "s3cret" in (await bridge.get(each)).text
    decided = await bridge.post(f"{path}/decide", json={"option": "approve"}, headers=other)
    assert decided.json()["callback_url"] == VISIBLE
    again = await bridge.post(f"{path}/decide", json={"option": "approve"}, headers=other)
    assert (again.status_code, "s3cret" in again.text) == (409, False)


async def test_the_error_of_a_call_does_not_repeat_the_url(bridge: httpx.AsyncClient) -> None:
    async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(no_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/hook?token=s3cret"
        event = {"type": "custom_event", "title": "hello", "chat_id": 1001, "callback_url": url}
        posted = (await bridge.post("/api/v1/events", json=event)).json()
        calls = f"/api/v1/messages/{posted['message_ids'][0]}/callbacks"

        async def failed() -> str | None:
            items = (await bridge.get(calls)).json()["items"]
            return items[0]["last_error"] if items else None

        error = await until(failed)
    assert error is not None
    assert error.startswith("no HTTP answer")
    assert "s3cret" not in error


async def test_calls_of_a_message_that_is_not_there_are_not_found(bridge: httpx.AsyncClient) -> None:
    answer = await bridge.get("/api/v1/messages/nothing/callbacks")
    assert (answer.status_code, answer.json()["detail"]) == (404, "No message has this ID.")


async def test_only_the_suites_own_key_changes_its_own_callback(bridge: httpx.AsyncClient) -> None:
    admin = await client_with(bridge, "admin", "keys:admin")
    reader = await client_with(bridge, "reading-admin", "keys:admin", "messages:read")
    url = {"url": WHOLE}
    refused = await bridge.put("/api/v1/callbacks/ci", json=url, headers=admin)
    assert (refused.status_code, refused.json()["scope"]) == (403, "messages:read")
    assert (await bridge.put("/api/v1/callbacks/ci", json=url, headers=reader)).status_code == 200
    for client in ("default", "bridge", "folder"):
        path = f"/api/v1/callbacks/{client}"
        assert (await bridge.put(path, json=url)).status_code == 200
        for headers in (admin, reader):
            assert (await bridge.put(path, json=url, headers=headers)).status_code == 403
            assert (await bridge.delete(path, headers=headers)).status_code == 403
        assert (await bridge.delete(path)).status_code == 204
    assert (await bridge.delete("/api/v1/callbacks/ci", headers=admin)).status_code == 204
