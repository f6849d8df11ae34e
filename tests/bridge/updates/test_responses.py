"""Responses are stored and linked to what they answer; strangers get a notice."""

import asyncio
import time
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from services.bridge import inbound
from services.bridge.settings import BridgeSettings
from services.bridge.updates import responses as store
from services.bridge.updates.responses import NewResponse, ResponseKind
from services.kit.clock import rfc3339
from services.kit.database.connect import open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.updates.parse import Sender
from tests.bridge.people import ADA, GRACE, MALLORY, TEAM, Bridge, People, bridge_of, text_of
from tests.conftest import BridgeFactory
from tests.database_copies import Copies
from tests.images import pdf, png
from tests.servers import before_the_wait_ends, until


async def responded(bridge: Bridge, number: int, **params: Any) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found = await bridge.responses(**params)
        return found if len(found) >= number else None

    found = await until(look)
    assert found is not None
    return found


async def test_a_reply_is_linked_to_the_message_its_event_and_its_correlation_id(
    talk: Bridge, people: People
) -> None:
    posted = await talk.post(title="Deploy failed", correlation_id="run-7")
    shown = await people.until_text(ADA, "Deploy failed")
    await talk.until_message(posted["message_ids"][0], "delivered")
    await people.say(ADA, "roll it back", reply_to=shown["message_id"])
    (response,) = await responded(talk, 1, correlation_id="run-7")
    assert response["kind"] == "reply"
    assert response["text"] == "roll it back"
    assert response["user"] == {"id": ADA, "name": response["user"]["name"], "username": "ada"}
    assert response["in_reply_to"] == {
        "message_id": posted["message_ids"][0],
        "event_id": posted["event_id"],
        "approval_id": None,
    }
    assert response["correlation_id"] == "run-7"


async def test_a_reply_to_any_part_of_a_long_message_is_linked(talk: Bridge, people: People) -> None:
    posted = await talk.post(type="custom_event", title="long", data={"results": "line\n" * 900 + "the end"})
    last = await people.until_text(ADA, "the end")
    await talk.until_message(posted["message_ids"][0], "delivered")
    first = (await people.messages(ADA))[0]
    assert first["message_id"] != last["message_id"]
    for number, shown in enumerate((first, last), 1):
        await people.say(ADA, f"about part {number}", reply_to=shown["message_id"])
    both = await responded(talk, 2)
    assert {one["in_reply_to"]["message_id"] for one in both} == {posted["message_ids"][0]}


async def test_a_reply_to_any_file_of_an_album_is_linked(talk: Bridge, people: People) -> None:
    files = [
        (await talk.client.post("/api/v1/files", content=content)).json()["id"]
        for content in (png(8, 8), png(9, 9), png(10, 10), pdf())
    ]
    attachments = [{"file_id": one} for one in files]
    posted = await talk.post(title="Photos", description="x" * 1_500, attachments=attachments)
    message = await talk.until_message(posted["message_ids"][0], "delivered")
    shown = message["telegram_message_ids"]
    assert len(shown) == 5
    for number, one in enumerate(shown):
        await people.say(ADA, f"about {number}", reply_to=one)
    found = await responded(talk, 5)
    assert [one["in_reply_to"]["message_id"] for one in found] == posted["message_ids"] * 5


async def test_texts_taps_replies_and_commands_are_responses_in_order(talk: Bridge, people: People) -> None:
    approval = await talk.ask(correlation_id="run-8")
    shown = await people.question(ADA)
    await people.say(ADA, "let me think")
    await people.say(ADA, "/help")
    await people.tap(shown, "Deny")
    found = await responded(talk, 3)
    assert [(one["kind"], one["text"]) for one in found] == [
        ("text", "let me think"),
        ("command", "/help"),
        ("tap", "deny"),
    ]
    tap = found[2]
    assert tap["in_reply_to"]["approval_id"] == approval["id"]
    assert (tap["correlation_id"], tap["outcome"]) == ("run-8", "decided")


async def test_a_page_begins_where_the_previous_one_ended(talk: Bridge, people: People) -> None:
    before = time.time() - 1
    for number in range(5):
        await people.say(ADA, f"text {number}")
    await responded(talk, 5)
    seen: list[str] = []
    cursor = "0"
    while True:
        page = (await talk.client.get("/api/v1/responses", params={"limit": 2, "cursor": cursor})).json()
        if not page["items"]:
            break
        seen += [one["text"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"text {number}" for number in range(5)]
    assert page["next_cursor"] == cursor
    assert len(await talk.responses(since=rfc3339(before))) == 5
    assert await talk.responses(since=rfc3339(time.time() + 60)) == []
    assert await talk.responses(correlation_id="nobody's") == []


async def test_a_wait_for_responses_ends_with_the_first(talk: Bridge, people: People) -> None:
    waiting = asyncio.create_task(talk.responses(wait=55))
    await talk.until_waiting()
    await people.say(ADA, "here")
    assert [one["text"] for one in await before_the_wait_ends(waiting)] == ["here"]


async def test_a_reader_misses_no_response_of_a_slower_transaction(postgres_copies: Copies) -> None:
    """A response with a lower number must not become visible after one with a higher number."""
    with postgres_copies.database() as url:
        database = await open_database(
            url, Telemetry("tests", ServiceSettings()), packages=["services.outbox", *inbound.PACKAGES]
        )
        added = asyncio.Event()

        def slow(connection: Connection) -> None:
            store.add(connection, text_response("slow"), 1.0)
            added.set()
            connection.execute(select(func.pg_sleep(0.5)))

        slower = asyncio.create_task(database.write("updates", slow))
        await added.wait()
        await database.write("updates", partial(store.add, new=text_response("fast"), now=1.0))
        page = partial(store.page, since=None, correlation_id=None, bot=None, after=0, limit=10)
        assert [row["text"] for row in await database.read("read", page)] == ["slow", "fast"]
        await slower
        await database.close()


def text_response(bot: str) -> NewResponse:
    return NewResponse(
        ResponseKind.TEXT, bot, Sender(ADA, "Ada", None), bot, TraceContext(1, 2, sampled=True)
    )


async def test_invalid_parameters_are_refused_by_name(quick: Bridge) -> None:
    for params, name in (
        ({"wait": 56}, "wait"),
        ({"limit": 0}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"colour": "red"}, "colour"),
    ):
        refused = await quick.client.get("/api/v1/responses", params=dict(params))
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["loc"][-1] == name


async def test_a_stranger_gets_one_notice_is_counted_and_leaves_no_response(
    talk: Bridge, people: People
) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    for text in ("let me in", "/status", "please"):
        await people.say(MALLORY, text)
    await talk.until_metric('cctelegram_unauthorised_updates_total{kind="message"}', 3.0)
    answer = await people.until_text(MALLORY, "not authorised")
    assert f"user id is {MALLORY}, the id of this chat is {MALLORY}" in text_of(answer)
    assert "TELEGRAM_ALLOWED_USERS" in text_of(answer)
    await people.say(ADA, "hello")
    await responded(talk, 1)
    assert [one["text"] for one in await talk.responses()] == ["hello"]
    assert len([m for m in await people.messages(MALLORY) if "not authorised" in text_of(m)]) == 1


async def test_a_stranger_gets_a_notice_in_each_chat(talk: Bridge, people: People) -> None:
    """Each notice has the id of its chat, which the operator needs."""
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    await people.say(MALLORY, "/start")
    await people.until_text(MALLORY, f"the id of this chat is {MALLORY}")
    await people.say(TEAM, "/start", person=MALLORY)
    await people.until_text(TEAM, f"the id of this chat is {TEAM}")


async def test_a_text_of_a_stranger_in_a_group_does_not_use_up_the_notice(
    talk: Bridge, people: People
) -> None:
    """A stranger gets one notice an hour; a text without a reply does not count."""
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    await talk.ask(chat_id=TEAM)
    shown = await people.question(TEAM)
    await people.say(TEAM, "good morning", person=MALLORY)
    await people.tap(shown, "Approve", MALLORY)
    await people.say(TEAM, "approve", reply_to=shown["message_id"], person=MALLORY)
    await people.until_text(TEAM, "You may not decide this")
    await people.say(TEAM, "/status", person=MALLORY)
    await talk.until_metric('cctelegram_unauthorised_updates_total{kind="message"}', 3.0)
    assert not any("not authorised" in text_of(message) for message in await people.messages(TEAM))


async def test_texts_in_a_group_are_stored_without_a_reply(talk: Bridge, people: People) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    await people.say(TEAM, "good morning", person=GRACE)
    await people.say(TEAM, "who is this bot?", person=MALLORY)
    (response,) = await responded(talk, 1)
    assert (response["chat_id"], response["user"]["id"]) == (TEAM, GRACE)
    await talk.until_metric('cctelegram_unauthorised_updates_total{kind="message"}', 1.0)
    assert await people.calls("setMessageReaction") == []
    assert [text_of(message) for message in await people.messages(TEAM)] == [
        "good morning",
        "who is this bot?",
    ]


async def test_a_block_suppresses_messages_until_it_is_lifted(talk: Bridge, people: People) -> None:
    await people.sandbox.post(f"/chats/{ADA}/block")
    await talk.until_metric('cctelegram_telegram_updates_total{kind="my_chat_member"}', 1.0)

    async def suppressed() -> bool:
        posted = await talk.post(title="while blocked")
        found = await talk.until_message_finished(posted["message_ids"][0])
        return bool(found["status"] == "suppressed")

    await until(suppressed)
    assert not any(call["chat_id"] == ADA for call in await people.sandbox.sends())
    await people.sandbox.post(f"/chats/{ADA}/unblock")
    await talk.until_metric('cctelegram_telegram_updates_total{kind="my_chat_member"}', 2.0)

    async def flows() -> bool:
        posted = await talk.post(title="back again")
        found = await talk.until_message_finished(posted["message_ids"][0])
        return bool(found["status"] == "delivered")

    await until(flows)
    await people.until_text(ADA, "back again")


async def test_a_person_who_starts_the_bot_gets_messages_from_then_on(talk: Bridge, people: People) -> None:
    refused = "Forbidden: bot can't initiate conversation with a user"
    await people.sandbox.faults({"kind": "answer", "status": 403, "description": refused, "chat_ids": [ADA]})
    posted = await talk.post(title="too early")
    assert (await talk.until_message_finished(posted["message_ids"][0]))["status"] == "dead_letter"
    await people.say(ADA, "/start")
    await people.until_text(ADA, "/help")
    posted = await talk.post(title="now it goes")
    assert (await talk.until_message_finished(posted["message_ids"][0]))["status"] == "delivered"


async def test_a_group_gets_messages_again_after_the_bot_was_removed_and_added(
    quick: Bridge, people: People
) -> None:
    await people.sandbox.post(f"/chats/{TEAM}/kick")
    await quick.until_metric('cctelegram_telegram_updates_total{kind="my_chat_member"}', 1.0)
    await people.sandbox.post(f"/chats/{TEAM}/join")
    await quick.until_metric('cctelegram_telegram_updates_total{kind="my_chat_member"}', 2.0)

    async def flows() -> bool:
        posted = await quick.post(title="to the team", chat_id=TEAM)
        found = await quick.until_message_finished(posted["message_ids"][0])
        return bool(found["status"] == "delivered")

    await until(flows)


async def test_a_reaction_that_failed_is_made_after_a_restart(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        fault = {"kind": "answer", "status": 502, "methods": ["setMessageReaction"], "times": None}
        await people.sandbox.faults(fault)
        await people.say(ADA, "noted?")
        await responded(bridge, 1)
    await people.sandbox.no_faults()
    async with bridge_of(settings):

        async def reacted() -> bool:
            return any(call["status"] == 200 for call in await people.calls("setMessageReaction"))

        await until(reacted)


async def test_a_command_for_another_bot_is_ignored(bridge_settings: BridgeFactory, people: People) -> None:
    async with bridge_of(bridge_settings(telegram_allowed_users=[ADA])) as bridge:

        async def known() -> bool:
            (bot,) = (await people.sandbox.client.get("/control/bots")).json()
            return bool(bot["commands"])

        await until(known)
        (bot,) = (await people.sandbox.client.get("/control/bots")).json()
        await people.say(TEAM, "/help@some_other_bot", person=ADA)
        await people.say(TEAM, f"/help@{bot['username']}", person=ADA)
        await people.until_text(TEAM, "/status")
        assert [one["text"] for one in await bridge.responses()] == [f"/help@{bot['username']}"]
