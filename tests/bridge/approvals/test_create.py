"""Creating an approval shows its question exactly, with buttons; invalid input is refused by field."""

from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.bridge.people import (
    ADA,
    GRACE,
    MALLORY,
    TEAM,
    Bridge,
    People,
    bridge_of,
    buttons,
    data_of,
    text_of,
)
from tests.conftest import BridgeFactory


async def test_a_question_is_shown_exactly_with_its_options_as_buttons(talk: Bridge, people: People) -> None:
    prompt = "rm -rf *_build_*  <b>&amp;</b> `x` [y](z) \\_ 😀\n\n  indented"
    approval = await talk.ask(prompt=prompt, options=["Yes, go", "No", "Ask Grace"])
    shown = await people.question(ADA)
    assert prompt in text_of(shown)
    assert buttons(shown) == ["Yes, go", "No", "Ask Grace"]
    assert approval["code"] in text_of(shown)
    assert approval["status"] == "open"
    assert approval["approvers"] == [ADA, GRACE]


async def test_without_options_there_are_approve_and_deny(talk: Bridge, people: People) -> None:
    await talk.ask()
    assert buttons(await people.question(ADA)) == ["Approve", "Deny"]


async def test_ten_options_with_long_names_fit_telegrams_64_bytes(talk: Bridge, people: People) -> None:
    options = [f"{number} " + "ü" * 60 for number in range(10)]
    await talk.ask(options=options)
    shown = await people.question(ADA)
    assert buttons(shown) == options
    assert max(len(data.encode()) for data in data_of(shown)) <= 64
    assert len(set(data_of(shown))) == 10


async def test_a_question_that_does_not_fit_is_attached_whole_and_says_so(
    talk: Bridge, people: People
) -> None:
    prompt = "".join(f"line {number}: äöü 😀\n" for number in range(600))
    approval = await talk.ask(prompt=prompt)
    shown = await people.question(ADA)
    (document,) = [m for m in await people.messages(ADA) if "document" in m]
    assert document["message_id"] < shown["message_id"]
    assert "reply_markup" not in document
    assert f"approval-{approval['code']}.txt" in text_of(shown)
    assert "line 0" not in text_of(shown)
    file = await people.sandbox.client.get(await _file_url(people, document["document"]["file_id"]))
    assert file.text == f"Deploy 1.4?\n\n{prompt}"


async def _file_url(people: People, file_id: str) -> str:
    token = "1000000001:sandbox-token-for-local-use-only"
    answer = await people.sandbox.client.post(f"/bot{token}/getFile", json={"file_id": file_id})
    return f"/file/bot{token}/{answer.json()['result']['file_path']}"


async def test_a_question_at_the_length_limit_is_sent_whole_or_as_a_file(
    quick: Bridge, people: People
) -> None:
    for length in (3_570, 3_584, 3_586, 3_600, 4_096):
        prompt = "x" * (length - 1) + "!"
        await quick.ask(prompt=prompt, title=f"length {length}")
        shown = await people.question(ADA, f"length {length}")
        documents = [m for m in await people.messages(ADA) if "document" in m and str(length) in text_of(m)]
        assert (prompt in text_of(shown)) is not bool(documents)


async def test_the_question_is_sent_to_every_given_chat(talk: Bridge, people: People) -> None:
    approval = await talk.ask(chat_id=[ADA, GRACE, TEAM])
    for chat_id in (ADA, GRACE, TEAM):
        assert buttons(await people.question(chat_id))
    assert {message["chat_id"] for message in approval["messages"]} == {ADA, GRACE, TEAM}
    assert {message["kind"] for message in approval["messages"]} == {"question"}


async def test_a_repeated_idempotency_key_creates_one_approval_and_another_body_is_refused(
    talk: Bridge, people: People
) -> None:
    first = await talk.ask({"Idempotency-Key": "k"})
    body = {"title": "Deploy 1.4?", "prompt": "git push production"}
    again = await talk.client.post("/api/v1/approvals", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await talk.client.post(
        "/api/v1/approvals", json=body | {"title": "else"}, headers={"Idempotency-Key": "k"}
    )
    assert other.status_code == 422
    await people.question(ADA)
    assert len((await talk.client.get("/api/v1/approvals")).json()["items"]) == 1


WRONG: list[tuple[dict[str, Any], list[str | int]]] = [
    ({"prompt": "p"}, ["body", "title"]),
    ({"title": "t"}, ["body", "prompt"]),
    ({"title": "t", "prompt": "p", "options": []}, ["body", "options"]),
    ({"title": "t", "prompt": "p", "options": [str(n) for n in range(11)]}, ["body", "options"]),
    ({"title": "t", "prompt": "p", "options": ["Yes", "yes"]}, ["body", "options"]),
    ({"title": "t", "prompt": "p", "options": ["x" * 65]}, ["body", "options", 0]),
    ({"title": "t", "prompt": "p", "approvers": [ADA, MALLORY]}, ["body", "approvers", 1]),
    ({"title": "t", "prompt": "p", "expires_in": 1}, ["body", "expires_in"]),
    ({"title": "t", "prompt": "p", "expires_in": 60, "expires_at": "2027-01-01T00:00:00Z"}, ["body"]),
    ({"title": "t", "prompt": "p", "expires_at": "2020-01-01T00:00:00Z"}, ["body", "expires_at"]),
    ({"title": "t", "prompt": "p", "expires_at": "9999-12-31T23:59:59-14:00"}, ["body", "expires_at"]),
    ({"title": "t", "prompt": "p", "callback_url": "ftp://x"}, ["body", "callback_url"]),
    ({"title": "t", "prompt": "p", "callback_url": "http://10.0.0.1/"}, ["body", "callback_url"]),
    ({"title": "t", "prompt": "p", "chat_id": [ADA, ADA]}, ["body"]),
    ({"title": "t", "prompt": "p", "colour": "red"}, ["body", "colour"]),
    ({"title": "t", "prompt": "p", "chat_id": 0}, ["body", "chat_id"]),
    ({"title": "t", "prompt": "p", "approvers": [True]}, ["body", "approvers", 0]),
    ({"title": "t", "prompt": "p", "expires_in": True}, ["body", "expires_in"]),
    ({"title": "t", "prompt": "p", "options": ["\u200b"]}, ["body", "options", 0]),
    ({"title": "t", "prompt": "p", "metadata": {"n": 2**64}}, ["body", "metadata"]),
    ({"title": "t", "prompt": "p", "metadata": {"text": "x" * 65_536}}, ["body", "metadata"]),
    ({"title": " ", "prompt": "p"}, ["body", "title"]),
    ({"title": "\u200b\ufeff", "prompt": "p"}, ["body", "title"]),
    ({"title": "t", "prompt": "\n "}, ["body", "prompt"]),
    ({"title": "t", "prompt": "\u2060"}, ["body", "prompt"]),
]
WRONG += [
    ({"title": "t", "prompt": "p"} | {field: "a\0b"}, ["body", field])
    for field in ("title", "prompt", "source", "correlation_id", "callback_url", "bot")
]


async def test_invalid_input_is_refused_with_the_name_of_the_field(quick: Bridge) -> None:
    for body, loc in WRONG:
        refused = await quick.client.post("/api/v1/approvals", json=body)
        assert (refused.status_code, body) == (422, body)
        assert refused.headers["content-type"] == "application/problem+json"
        named = [entry["loc"][: len(loc)] for entry in refused.json()["errors"]]
        assert named == [loc] * len(named)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("decide", {"option": "approve", "by": "a\0b"}, "by"),
        ("decide", {"option": "approve", "comment": "a\0b"}, "comment"),
        ("decide", {"option": "a\0b"}, "option"),
        ("cancel", {"by": "a\0b"}, "by"),
        ("cancel", {"reason": "a\0b"}, "reason"),
    ],
)
async def test_nul_is_named_on_every_database_and_decides_nothing(
    talk: Bridge, path: str, body: dict[str, Any], field: str
) -> None:
    """PostgreSQL stores none."""
    approval_id = (await talk.ask())["id"]
    refused = await talk.client.post(f"/api/v1/approvals/{approval_id}/{path}", json=body)
    assert refused.status_code == 422
    assert [error["loc"] for error in refused.json()["errors"]] == [["body", field]]
    assert (await talk.client.get(f"/api/v1/approvals/{approval_id}")).json()["status"] == "open"


async def test_half_a_character_in_metadata_is_named(quick: Bridge) -> None:
    """Python's JSON reader accepts it, and no serializer writes it."""
    body = b'{"title": "t", "prompt": "p", "metadata": {"a": ["\\ud800"]}}'
    headers = {"Content-Type": "application/json"}
    refused = await quick.client.post("/api/v1/approvals", content=body, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["body", "metadata"]


async def test_the_recipients_of_events_are_the_default_approvers(bridge_settings: BridgeFactory) -> None:
    assert bridge_settings().allowed_users == {1001}
    assert bridge_settings(telegram_chat_ids=[7, -5]).allowed_users == {7}
    assert bridge_settings(telegram_chat_ids=[7], telegram_allowed_users=[8, 9]).allowed_users == {8, 9}


async def test_without_approvers_an_approval_is_refused(
    bridge_settings: BridgeFactory, database_url: str
) -> None:
    settings = bridge_settings(database_url=database_url, telegram_chat_ids=[TEAM])
    async with bridge_of(settings) as bridge:
        refused = await bridge.client.post("/api/v1/approvals", json={"title": "t", "prompt": "p"})
    assert refused.status_code == 422
    assert "TELEGRAM_ALLOWED_USERS" in refused.json()["errors"][0]["msg"]


async def test_approvals_are_listed_newest_first_by_state_and_correlation_id(talk: Bridge) -> None:
    made = [await talk.ask(title=f"q{number}", correlation_id="run-7") for number in range(3)]
    await talk.ask(title="other")
    first = (
        await talk.client.get("/api/v1/approvals", params={"correlation_id": "run-7", "limit": 2})
    ).json()
    assert [item["title"] for item in first["items"]] == ["q2", "q1"]
    rest = (
        await talk.client.get(
            "/api/v1/approvals",
            params={"correlation_id": "run-7", "limit": 2, "cursor": first["next_cursor"]},
        )
    ).json()
    assert [item["title"] for item in rest["items"]] == ["q0"]
    await talk.client.post(f"/api/v1/approvals/{made[0]['id']}/cancel")
    cancelled = await talk.client.get("/api/v1/approvals", params={"status": "cancelled"})
    assert [item["title"] for item in cancelled.json()["items"]] == ["q0"]


async def test_every_route_requires_an_api_key(quick: Bridge) -> None:
    async with servers.http(str(quick.client.base_url)) as stranger:
        for method, path in (
            ("POST", "/api/v1/approvals"),
            ("GET", "/api/v1/approvals/x"),
            ("POST", "/api/v1/approvals/x/decide"),
            ("POST", "/api/v1/approvals/x/cancel"),
            ("GET", "/api/v1/responses"),
        ):
            assert (await stranger.request(method, path)).status_code == 401


async def test_an_unknown_approval_is_404(quick: Bridge) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/decide", {"option": "approve"}),
        ("POST", "/cancel", None),
    ):
        answer = await quick.client.request(method, f"/api/v1/approvals/no-such{path}", json=body)
        assert answer.status_code == 404


@pytest.mark.parametrize("by_event", [False, True])
async def test_a_template_renders_the_question_and_the_verdict_contains_it(
    bridge_settings: BridgeFactory, people: People, tmp_path: Path, by_event: bool
) -> None:
    words = "{{ emoji }} {{ source }} wants: {{ data.approval_prompt|pre('shell') }}{{ description }}"
    (tmp_path / "approval_request.txt").write_text(words)
    (tmp_path / "default.txt").write_text("{{ title }}")
    async with bridge_of(bridge_settings(templates_dir=tmp_path)) as bridge:
        if by_event:
            data = {"approval_prompt": "git push"}
            event = {"type": "approval_request", "title": "Deploy?", "source": "ci", "data": data}
            await bridge.client.post("/api/v1/events", json=event | {"chat_id": ADA, "description": "!"})
        else:
            await bridge.ask(prompt="git push", source="ci")
        shown = await people.question(ADA, "ci wants")
        question = "🙋 ci wants: git push" + "!" * by_event
        assert text_of(shown).startswith(f"{question}\n\nUntil ")
        await people.tap(shown, "Approve")

        async def closed() -> bool:
            return any("☑️ Decided: Approve" in text_of(message) for message in await people.messages(ADA))

        await servers.until(closed)
        (verdict,) = [m for m in await people.messages(ADA) if "☑️ Decided: Approve" in text_of(m)]
        assert text_of(verdict).startswith(f"{question}\n\n☑️ Decided: Approve, by Ada")
        assert verdict["entities"][0]["language"] == "shell"
