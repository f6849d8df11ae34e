"""ntfy's publish form over HTTP: what its clients send becomes an event, and they get ntfy's answer."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import apprise
import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from services.bridge.app import create_app
from services.bridge.ways_in import topics
from tests.bridge.events.test_intake import delivered
from tests.bridge.people import Bridge
from tests.conftest import BridgeFactory
from tests.servers import KEY, Sandbox

INFO = "\N{INFORMATION SOURCE}\ufe0f"


async def event_of(bridge: Bridge, answer: httpx.Response) -> dict[str, Any]:
    """The event as it was stored, without what every one has."""
    assert answer.status_code == 200, answer.text
    stored = (await bridge.client.get(f"/api/v1/events/{answer.json()['id']}")).json()["event"]
    return {name: value for name, value in stored.items() if name != "type"}


async def published(bridge: Bridge, body: str | bytes = "hello", **headers: str) -> dict[str, Any]:
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return await event_of(bridge, await bridge.client.post("/backup", content=body, headers=named))


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_text_is_delivered_and_answered_as_ntfy_does(
    bridge: httpx.AsyncClient, sandbox: Sandbox, method: str
) -> None:
    before = int(datetime.now(UTC).timestamp())
    headers = {"Title": "NAS", "Tags": "tada,nightly", "Priority": "high"}
    answer = await bridge.request(method, "/backup", content="Backup done", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    said = answer.json()
    assert before <= said.pop("time") <= datetime.now(UTC).timestamp()
    event = (await bridge.get(f"/api/v1/events/{said.pop('id')}")).json()
    assert said == {
        "event": "message",
        "topic": "backup",
        "title": "NAS",
        "message": "Backup done",
        "priority": 4,
        "tags": ["tada", "nightly"],
    }
    await delivered(bridge, event["messages"][0]["id"])
    (text,) = await sandbox.texts(1001)
    assert text == f"{INFO} 🎉 NAS\n\nBackup done\n\nbackup · high · #nightly"


async def test_json_on_the_root_is_published_to_its_topic(quick: Bridge) -> None:
    body = {
        "topic": "backup",
        "message": "Backup done",
        "title": "NAS",
        "tags": ["warning", "disk"],
        "priority": 5,
        "click": "https://nas.example/",
        "actions": [{"action": "view", "label": "Log", "url": "https://nas.example/log"}],
        "attach": "https://nas.example/a.png",
        "filename": "a.png",
        "icon": "https://nas.example/i.png",
        "cache": "no",
        "unknown": {"a": 1},
    }
    for method in ("POST", "PUT"):
        answer = await quick.client.request(method, "/", json=body)
        assert await event_of(quick, answer) == {
            "title": "⚠️ NAS",
            "description": "Backup done\n\na.png: https://nas.example/a.png",
            "buttons": [
                [{"text": "Open", "url": "https://nas.example/"}],
                [{"text": "Log", "url": "https://nas.example/log"}],
            ],
            "source": "backup",
            "priority": "urgent",
            "severity": "critical",
            "data": {"tags": ["disk"]},
        }


async def test_the_json_form_goes_before_headers_which_count_too(quick: Bridge) -> None:
    body = {"topic": "backup", "title": "body", "message": "hello"}
    answer = await quick.client.post("/", json=body, headers={"X-Title": "header", "X-Priority": "4"})
    event = await event_of(quick, answer)
    assert (event["title"], event["priority"]) == ("body", "high")


@pytest.mark.parametrize("name", ["X-Title", "Title", "ti" + "tle", "T"])
async def test_a_header_has_aliases_and_a_query_has_them_too(quick: Bridge, name: str) -> None:
    assert (await published(quick, **{name: "NAS"}))["title"] == "NAS"
    answer = await quick.client.put(f"/backup?{name.lower()}=NAS&anything=else", content="hello")
    assert (await event_of(quick, answer))["title"] == "NAS"


async def test_a_header_goes_before_the_query(quick: Bridge) -> None:
    answer = await quick.client.post("/backup?title=query", content="x", headers={"Title": "header"})
    assert (await event_of(quick, answer))["title"] == "header"


@pytest.mark.parametrize("title", ["Größe", "=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "=?UTF-8?B?R3LDtsOfZQ==?="])
async def test_a_title_may_have_any_letter(quick: Bridge, title: str) -> None:
    assert (await published(quick, Title=title))["title"] == "Größe"


@pytest.mark.parametrize(
    ("priority", "fields"),
    [
        ("1", {"priority": "low", "silent": True}),
        ("low", {"priority": "low", "silent": True}),
        ("default", {}),
        ("4", {"priority": "high", "severity": "high"}),
        ("urgent", {"priority": "urgent", "severity": "critical"}),
        ("u=1, i", {}),  # of a browser: RFC 9218
    ],
)
async def test_a_priority_is_a_lane_a_severity_and_a_sound(
    quick: Bridge, priority: str, fields: dict[str, Any]
) -> None:
    assert await published(quick, Priority=priority) == {"title": "hello", "source": "backup"} | fields


#: Those that ntfy's documentation shows.
@pytest.mark.parametrize(
    ("tag", "face"),
    {
        "+1": "👍",
        "partying_face": "🥳",
        "tada": "🎉",
        "heavy_check_mark": "✔️",
        "loudspeaker": "📢",
        "-1": "👎",
        "warning": "⚠️",
        "rotating_light": "🚨",
        "triangular_flag_on_post": "🚩",
        "skull": "💀",
        "facepalm": "🤦",
        "no_entry": "⛔",
        "no_entry_sign": "🚫",
        "cd": "💿",
        "computer": "💻",
    }.items(),
)
async def test_a_tag_that_names_an_emoji_is_one(quick: Bridge, tag: str, face: str) -> None:
    assert (await published(quick, Tags=f"{tag}, disk"))["title"] == f"{face} hello"


@pytest.mark.parametrize(
    ("body", "headers", "title", "description"),
    [
        ("", {}, "triggered", None),
        ("", {"Title": "NAS"}, "NAS", None),
        ("", {"Message": "a\\nb"}, "a", "b"),
        ("hello", {"Click": "mailto:ada@example.org"}, "hello", "Link: mailto:ada@example.org"),
        (
            "hello",
            {"Actions": "view, NAS, http://nas/; view, Log, https://nas.example/"},
            "hello",
            "NAS: http://nas/",
        ),
        (
            "hello",
            {"Actions": f"view, {'x' * 65}, https://nas.example/"},
            "hello",
            f"{'x' * 65}: https://nas.example/",
        ),
        (
            "hello",
            {"Actions": f"view, Open, https://a.example/{'x' * 2_048}"},
            "hello",
            None,
        ),
    ],
)
async def test_what_is_shown(
    quick: Bridge, body: str, headers: dict[str, str], title: str, description: str | None
) -> None:
    event = await published(quick, body, **headers)
    assert (event["title"], event.get("description")) == (title, description)


@pytest.mark.parametrize(
    ("actions", "buttons"),
    [
        ("view, Open, https://a.example/?x=1, clear=true", [("Open", "https://a.example/?x=1")]),
        (
            'action=view, label="A, \\"b\\"; c", url=https://a.example; http, Shut, https://b.example',
            [('A, "b"; c', "https://a.example")],
        ),
        (
            '[{"action": "view", "label": "Open", "url": "https://a.example"}]',
            [("Open", "https://a.example")],
        ),
        (
            "view, 'A, b', https://a.example; view, B, http://b.example:81/",
            [("A, b", "https://a.example"), ("B", "http://b.example:81/")],
        ),
        ("view, NAS, http://nas/; view, Mail, mailto:ada@example.org; broadcast, Take", []),
    ],
)
async def test_an_action_view_is_a_button(
    quick: Bridge, actions: str, buttons: list[tuple[str, str]]
) -> None:
    event = await published(quick, Actions=actions)
    assert event.get("buttons", []) == [[{"text": text, "url": url}] for text, url in buttons]


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"Click": "https://a.example/"}, {"buttons": [[{"text": "Open", "url": "https://a.example/"}]]}),
        ({"Click": "http://nas/"}, {"data": {"url": "http://nas/"}}),
        ({"Click": "tg://resolve?domain=ada"}, {"data": {"url": "tg://resolve?domain=ada"}}),
        (
            {"Click": "https://a.example/", "Actions": "view, Log, https://a.example/"},
            {"buttons": [[{"text": "Log", "url": "https://a.example/"}]]},
        ),
    ],
)
async def test_a_click_is_a_button_unless_telegram_does_not_take_it_or_an_action_has_it(
    quick: Bridge, headers: dict[str, str], fields: dict[str, Any]
) -> None:
    assert await published(quick, **headers) == {"title": "hello", "source": "backup"} | fields


async def test_urls_that_are_no_keyboard_together_are_lines(quick: Bridge) -> None:
    """Telegram takes about 10,000 bytes of buttons; two of these URLs have more."""
    urls = [
        f"https://a.example/{letter * 2_000}"
        for letter in "\N{GRINNING FACE}\N{GRINNING FACE WITH SMILING EYES}"
    ]
    body = {"topic": "backup", "actions": [{"action": "view", "label": "A", "url": url} for url in urls]}
    event = await event_of(quick, await quick.client.post("/", json=body))
    assert "buttons" not in event
    assert event["data"]["results"] == "\n".join(f"A: {url}" for url in urls)


async def test_the_buttons_are_below_the_message(bridge: httpx.AsyncClient, sandbox: Sandbox) -> None:
    headers = {"Click": "https://nas.example/", "Actions": "view, Log, https://nas.example/log"}
    answer = await bridge.post("/backup", content="Backup done", headers=headers)
    event = (await bridge.get(f"/api/v1/events/{answer.json()['id']}")).json()
    await delivered(bridge, event["messages"][0]["id"])
    (call,) = await sandbox.delivered(1001)
    assert call["message"]["reply_markup"]["inline_keyboard"] == [
        [{"text": "Open", "url": "https://nas.example/"}],
        [{"text": "Log", "url": "https://nas.example/log"}],
    ]


async def test_markdown_is_formatted(quick: Bridge) -> None:
    text = "**done** in 3 min"
    for header, value in (("Markdown", "yes"), ("Content-Type", "text/markdown")):
        event = await published(quick, text, **{header: value})
        assert event == {"title": "backup", "description": text, "source": "backup", "format": "markdown"}
    assert (await published(quick, text, md="no"))["title"] == text


@pytest.mark.parametrize("name", ["Delay", "X-Delay", "At", "X-At", "In", "X-In"])
@pytest.mark.parametrize("delay", ["30m", "30 min", "0.5 hours", "1800s", "29m 60s"])
async def test_a_delay_is_a_later_delivery(quick: Bridge, name: str, delay: str) -> None:
    before = datetime.now(UTC)
    due = datetime.fromisoformat((await published(quick, **{name: delay}))["deliver_at"])
    assert before <= due - timedelta(minutes=30) <= datetime.now(UTC)


async def test_a_delay_may_be_a_time(quick: Bridge) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    for text in (str(int(due.timestamp())), due.isoformat()):
        assert datetime.fromisoformat((await published(quick, At=text))["deliver_at"]) == due


@pytest.mark.parametrize(
    ("headers", "loc", "part"),
    [
        ({"Priority": "9"}, ["header", "Priority"], "1 to 5"),
        ({"X-Delay": "tomorrow, 10am"}, ["header", "X-Delay"], "30m"),
        ({"At": "99999999999"}, ["header", "At"], "more than a year ahead"),
        ({"Email": "ada@example.org"}, ["header", "Email"], "Telegram"),
        ({"Call": "yes"}, ["header", "Call"], "Telegram"),
        ({"Filename": "a.txt"}, ["header", "Filename"], "files are not taken"),
        ({"Template": "yes"}, ["header", "Template"], "mapping"),
        ({"Title": "x" * 201}, ["header", "Title"], "200"),
        ({"Click": "https://nas/a b"}, ["header", "Click"], "write a URL"),
        ({"Click": "mailto:" + "x" * 2_048}, ["header", "Click"], "at most 2048"),
        ({"Attach": "https://nas.example/" + "x" * 2_048}, ["header", "Attach"], "at most 2048"),
        ({"Tags": "x" * 65}, ["header", "Tags", 0], "64"),
        ({"Actions": "dance, Now"}, ["header", "Actions"], "view"),
        ({"Actions": "view, Open"}, ["header", "Actions"], "url"),
        ({"Actions": 'view, "Open'}, ["header", "Actions"], "character 6"),
        ({"Actions": "[{"}, ["header", "Actions"], "not JSON"),
        ({"Actions": "[1]"}, ["header", "Actions"], "object"),
        ({"Actions": "view, a, https://a.example;" * 4}, ["header", "Actions"], "only 3"),
        ({"Message": "x"}, ["header", "Message"], "twice"),
    ],
)
async def test_an_error_names_ntfys_field(
    quick: Bridge, headers: dict[str, str], loc: list[object], part: str
) -> None:
    answer = await quick.client.post("/backup", content="hello", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["errors"][0]["loc"] == loc
    assert part in problem["errors"][0]["msg"]
    assert (problem["http"], part in problem["error"]) == (422, True)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "topic"]),
        ({"topic": "a/b"}, ["body", "topic"]),
        ({"topic": "health"}, ["body", "topic"]),
        ({"topic": "a", "message": 1}, ["body", "message"]),
        ({"topic": "a", "tags": "x"}, ["body", "tags"]),
        ({"topic": "a", "tags": [1]}, ["body", "tags"]),
        ({"topic": "a", "actions": {}}, ["body", "actions"]),
        ({"topic": "a", "priority": 6}, ["body", "priority"]),
        ({"topic": "a", "markdown": "x"}, ["body", "markdown"]),
    ],
)
async def test_a_wrong_json_form_is_refused_by_name(
    quick: Bridge, body: dict[str, Any], loc: list[str]
) -> None:
    answer = await quick.client.post("/", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)


def token(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


async def test_the_key_comes_in_each_of_ntfys_ways(quick: Bridge) -> None:
    basic = "Basic " + base64.b64encode(f"ada:{KEY}".encode()).decode()
    for headers in ({"authorization": f"Bearer {KEY}"}, {"authorization": basic}):
        assert (await quick.client.post("/backup", content="x", headers=headers)).status_code == 200
    for value in (f"Bearer {KEY}", basic):
        query = f"/backup?auth={token(value)}"
        answer = await quick.client.post(query, content="x", headers={"authorization": ""})
        assert answer.status_code == 200


async def test_without_a_key_nothing_is_published(quick: Bridge) -> None:
    for path in ("/backup", "/backup?auth=x", "/"):
        answer = await quick.client.post(path, json={"topic": "a"}, headers={"authorization": ""})
        assert (answer.status_code, answer.json()["http"]) == (401, 401)
    assert (await quick.client.get("/api/v1/messages")).json()["items"] == []


async def test_a_repeated_delayed_publication_is_stored_once(quick: Bridge) -> None:
    headers = {"Idempotency-Key": "a", "Delay": "30m"}
    first = await quick.client.post("/backup", content="x", headers=headers)
    again = await quick.client.post("/backup", content="x", headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_topic_is_routed_as_a_source(quick: Bridge) -> None:
    routes = [{"name": "nas", "source": "nas-*", "to": [{"chat_id": 1002}]}]
    (await quick.client.put("/api/v1/routes", json={"routes": routes})).raise_for_status()
    answer = await quick.client.post("/nas-7", content="hello")
    event = (await quick.client.get(f"/api/v1/events/{answer.json()['id']}")).json()
    assert [message["chat_id"] for message in event["messages"]] == [1002]


# Paths that are no topics


@pytest.fixture
def app(bridge_settings: BridgeFactory) -> FastAPI:
    return create_app(bridge_settings())


def test_the_first_segment_of_every_route_is_reserved(app: FastAPI) -> None:
    first = {str(context.path).split("/")[1] for context in iter_route_contexts(app.routes)}
    assert first - topics.reserved(app) == {"", "{topic}"}
    assert {"api", "events", "send", "hooks", "health", "metrics", "docs", "telegram"} < topics.reserved(app)
    assert not any(topics.is_topic(name, app) for name in topics.reserved(app))


async def test_no_reserved_name_takes_a_message(quick: Bridge) -> None:
    names = sorted(topics.reserved(quick.app) - {"send", "events"})
    for name in [*names, "openapi.json", "favicon.ico", "x" * 65]:
        for method in ("POST", "PUT"):
            answer = await quick.client.request(method, f"/{name}", content="hello")
            assert answer.status_code in (404, 405), name
    assert (await quick.client.put("/send", content="hello")).status_code == 405
    assert (await quick.client.get("/api/v1/messages")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/health", 405, "GET, HEAD"),
        ("PUT", "/send", 405, "POST"),
        ("DELETE", "/events", 405, "POST"),
        ("GET", "/backup", 405, "POST, PUT"),
        ("DELETE", "/backup", 405, "POST, PUT"),
        ("GET", "/favicon.ico", 404, None),
        ("GET", "/api", 404, None),
        ("POST", "/api", 404, None),
        ("POST", "/backup/json", 404, None),
    ],
)
async def test_a_request_that_publishes_nothing_is_answered_as_without_topics(
    quick: Bridge, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await quick.client.request(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)


# A client that others have written


# Apprise tells kinds of pictures by a module that Python 3.13 has no more.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_apprise_publishes(quick: Bridge) -> None:
    url = quick.client.base_url
    for target in (
        f"ntfy://{KEY}@{url.host}:{url.port}/nas?auth=token",
        f"ntfy://ada:{KEY}@{url.host}:{url.port}/nas",
    ):
        sender = apprise.Apprise()
        assert sender.add(f"{target}{'&' if '?' in target else '?'}priority=high&xtags=warning,disk")
        assert await sender.async_notify(body="Backup done", title="NAS")
    shown = (await quick.client.get("/api/v1/messages")).json()["items"]
    assert [one["title"] for one in shown] == ["⚠️ NAS", "⚠️ NAS"]
    stored = [(await quick.client.get(f"/api/v1/events/{one['event_id']}")).json() for one in shown]
    assert {json.dumps(one["event"], sort_keys=True) for one in stored} == {
        json.dumps(
            {
                "type": "info_notification",
                "title": "⚠️ NAS",
                "description": "Backup done",
                "source": "nas",
                "priority": "high",
                "severity": "high",
                "data": {"tags": ["disk"]},
            },
            sort_keys=True,
        )
    }
