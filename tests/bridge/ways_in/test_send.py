"""POST /send over HTTP: texts, forms, queries; keys; errors in the client's own words."""

import base64
from typing import Any

import httpx
import pytest

from services.bridge.ways_in.draft import LONGEST_TEXT
from tests.bridge.events.test_intake import delivered
from tests.bridge.people import Bridge
from tests.databases import on_sqlite
from tests.servers import KEY, Sandbox

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def event_of(bridge: Bridge, answer: httpx.Response) -> dict[str, Any]:
    """The event as it was stored, without what every one has."""
    assert answer.status_code == 202, answer.text
    stored = (await bridge.client.get(answer.json()["links"]["event"])).json()["event"]
    return {name: value for name, value in stored.items() if name != "type"}


async def test_the_body_of_curl_is_a_text(bridge: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """curl -d sends every text as a form."""
    answer = await bridge.post("/send", content="Backup done", headers=FORM)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    await delivered(bridge, answer.json()["message_ids"][0])
    assert await sandbox.texts(1001) == ["\N{INFORMATION SOURCE}\ufe0f Backup done"]


@pytest.mark.parametrize(
    ("body", "title", "description"),
    [
        ("Backup done\n", "Backup done", ""),
        ("\n \nBackup done\n\n3 files\n4 MB\n", "Backup done", "3 files\n4 MB"),
        ("a=b", "a=b", ""),
        ("100% of x=1&y=2 is + fine", "100% of x=1&y=2 is + fine", ""),
        ("see https://a.example/?title=x&b=1", "see https://a.example/?title=x&b=1", ""),
        ("x" * 200, "x" * 200, ""),
        ("x" * 201, "x" * 199 + "…", "x" * 201),
    ],
)
async def test_without_a_title_the_first_line_is_the_title(
    quick: Bridge, body: str, title: str, description: str
) -> None:
    for headers in (FORM, {"content-type": "text/plain"}, {}):
        event = await event_of(quick, await quick.client.post("/send", content=body, headers=headers))
        assert event == {"title": title} | ({"description": description} if description else {})


@pytest.mark.parametrize("length", [2_000, 2_001, 5_000, 5_001, LONGEST_TEXT])
async def test_a_long_text_is_kept_whole(quick: Bridge, length: int) -> None:
    text = "line\n" * (length // 5) + "." * (length % 5)
    text = text.rstrip("\n").ljust(length, ".")
    event = await event_of(quick, await quick.client.post("/send?title=Log", content=text))
    kept = event.get("description") or event["data"].get("results") or event["data"]["code_snippet"]
    assert kept == text


async def test_a_longer_text_is_refused_with_its_length(quick: Bridge) -> None:
    answer = await quick.client.post("/send", content="x" * (LONGEST_TEXT + 1))
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [{"loc": ["body"], "msg": "the text has 20001 characters; at most 20000 are taken"}],
    )


async def test_the_query_has_the_fields_of_an_event_and_short_names(quick: Bridge) -> None:
    answer = await quick.client.post(
        "/send?title=Backup&severity=high&chat=1001,1002&topic=nas&silent&priority=low&thread=",
        content="done",
    )
    assert await event_of(quick, answer) == {
        "title": "Backup",
        "description": "done",
        "severity": "high",
        "chat_id": [1001, 1002],
        "source": "nas",
        "silent": True,
        "priority": "low",
    }
    assert len(answer.json()["message_ids"]) == 2


@pytest.mark.parametrize("kind", ["data", "files", "json"])
async def test_a_form_or_an_object_has_the_same_fields(quick: Bridge, kind: str) -> None:
    fields = {"message": "3 files & 4 MB", "title": "Backup", "chat": "1002"}
    sent: Any = {name: (None, value) for name, value in fields.items()} if kind == "files" else fields
    answer = await quick.client.post("/send?topic=nas", **{kind: sent})
    assert await event_of(quick, answer) == {
        "title": "Backup",
        "description": "3 files & 4 MB",
        "chat_id": 1002,
        "source": "nas",
    }


async def test_a_topic_is_matched_by_the_routes(quick: Bridge) -> None:
    routes = [{"name": "nas", "source": "nas", "to": [{"chat_id": 1002}]}]
    (await quick.client.put("/api/v1/routes", json={"routes": routes})).raise_for_status()
    answer = await quick.client.post("/send?topic=nas", content="hello")
    message = await quick.message(answer.json()["message_ids"][0])
    assert message["chat_id"] == 1002


@pytest.mark.parametrize(
    ("query", "body", "loc", "part"),
    [
        ("?titel=x", "hello", ["query", "titel"], "did you mean `title`?"),
        ("?zzz=x", "hello", ["query", "zzz"], "there are body, bot,"),
        ("?chat=ada", "hello", ["query", "chat"], "no chat has this name"),
        ("?chat=1,ada", "hello", ["query", "chat", 1], "no chat has this name"),
        ("?severity=bad", "hello", ["query", "severity"], "'low'"),
        ("?topic=" + "x" * 101, "hello", ["query", "topic"], "100"),
        ("?title=x&title=y", "hello", ["query", "title"], "twice"),
        ("?message=x", "hello", ["body"], "in the query already"),
        ("?text=x&message=y", "", ["query", "message"], "twice"),
        ("?title=" + "x" * 201, "hello", ["query", "title"], "200"),
        ("", "", ["body"], "there is no text"),
        ("", " \n", ["body"], "there is no text"),
        ("", b"\xff", ["body"], "no UTF-8 text"),
        ("", "a\0b", ["body"], "NUL"),
        ("", "title=&message=", ["body"], "there is no text"),
        ("", "message=hello&tittle=x", ["body", "tittle"], "did you mean `title`?"),
    ],
)
async def test_an_error_names_the_field_as_the_client_wrote_it(
    quick: Bridge, query: str, body: str | bytes, loc: list[object], part: str
) -> None:
    answer = await quick.client.post(f"/send{query}", content=body, headers=FORM)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    (error,) = answer.json()["errors"]
    assert error["loc"] == loc
    assert part in error["msg"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[1]", {"content-type": "application/json"}, 422),
        (b"{", {"content-type": "application/json"}, 422),
        (b'{"title": "\\ud800"}', {"content-type": "application/json"}, 422),
        (b"x", {"content-type": "multipart/form-data"}, 400),
        (b"x", {"content-type": "text/plain; charset=klingon"}, 422),
    ],
)
async def test_a_body_that_is_not_what_its_type_says_is_refused(
    quick: Bridge, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await quick.client.post("/send", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_text_may_have_another_charset(quick: Bridge) -> None:
    headers = {"content-type": 'text/plain; charset="iso-8859-1"'}
    answer = await quick.client.post("/send", content="Größe".encode("latin-1"), headers=headers)
    assert (await event_of(quick, answer))["title"] == "Größe"


async def test_a_file_is_refused_by_name(quick: Bridge) -> None:
    answer = await quick.client.post("/send", files={"log": ("a.txt", b"hello")})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "log"])


async def test_a_get_says_how_to_send(quick: Bridge) -> None:
    answer = await quick.client.get("/send?message=hello")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert 'curl -d "Backup done"' in answer.json()["detail"]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("value", [f"Bearer {KEY}", basic("", KEY), basic("anybody", KEY), basic(KEY, "")])
async def test_the_key_comes_as_bearer_or_as_a_password(quick: Bridge, value: str) -> None:
    answer = await quick.client.post("/send", content="hello", headers={"authorization": value})
    assert answer.status_code == 202


@pytest.mark.parametrize("value", ["", basic("a", "wrong"), "Basic ???", "Basic", "Bearer"])
async def test_another_key_is_refused(quick: Bridge, value: str) -> None:
    answer = await quick.client.post("/send", content="hello", headers={"authorization": value})
    assert answer.status_code == 401
    assert (await quick.client.get("/api/v1/messages")).json()["items"] == []


async def test_a_key_without_the_scope_is_refused(quick: Bridge) -> None:
    key = {"name": "reader", "scopes": ["messages:read"]}
    made = (await quick.client.post("/api/v1/keys", json=key)).json()
    headers = {"authorization": f"Bearer {made['secret']}"}
    assert (await quick.client.post("/send", content="hello", headers=headers)).status_code == 403


@on_sqlite
async def test_a_repeated_request_gets_the_first_answer(bridge: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "backup-7"}
    first = await bridge.post("/send?title=a", content="hello", headers=key)
    again = await bridge.post("/send?title=a", content="hello", headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    other = await bridge.post("/send?title=b", content="hello", headers=key)
    assert other.status_code == 422


async def test_a_body_over_the_limit_is_413(quick: Bridge) -> None:
    assert (await quick.client.post("/send", content="x" * 1_048_577)).status_code == 413
