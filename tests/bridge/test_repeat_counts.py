"""Events with a dedup key: repeats are counted at the first message, once, on both databases."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import Connection, select

from services.bridge.repeat_counts import RepeatCounts, with_count
from services.bridge.settings import BridgeSettings
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import Outbox
from services.outbox.intake import enqueue
from services.outbox.messages import Text
from services.outbox.messages.dedup import DedupKey, Deduplication
from services.outbox.metrics import OutboxMetrics
from services.outbox.schema import event, message
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of, buttons, text_of
from tests.bridge.tracking.test_killed import bridge_process
from tests.databases import on_sqlite
from tests.outbox import making
from tests.servers import ManualClock, Sandbox, until

FULL: dict[str, Any] = {"title": "Disk full", "chat_id": ADA, "dedup_key": "disk"}


async def until_repeats(bridge: Bridge, message_id: str, number: int) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await bridge.message(message_id)
        return found if found["repeats"] == number else None

    found = await until(look)
    assert found is not None
    return found


async def until_delivered(client: httpx.AsyncClient, message_id: str) -> None:
    async def look() -> bool:
        found = (await client.get(f"/api/v1/messages/{message_id}")).json()
        return bool(found["status"] == "delivered")

    await until(look)


async def test_repeats_are_counted_at_the_first_message_and_not_sent(talk: Bridge, people: People) -> None:
    first = await talk.post(**FULL)
    await talk.until_message(first["message_ids"][0], "delivered")
    assert first["status"] == "queued"
    again = [await talk.post(**FULL | {"description": str(n)}) for n in range(3)]
    for number, answer in enumerate(again, start=1):
        assert answer["status"] == "deduplicated"
        assert answer["repeats"] == number
        for field in ("event_id", "message_ids", "correlation_id", "trace_id", "type", "links"):
            assert answer[field] == first[field], field
    shown = await until_repeats(talk, first["message_ids"][0], 3)
    assert shown["last_repeat_at"] >= shown["accepted_at"]
    assert text_of(await people.until_text(ADA, "times since")).startswith("ℹ️ Disk full\n\n… (")  # noqa: RUF001 - the emoji of the type
    assert len([m for m in await people.messages(ADA) if "Disk full" in text_of(m)]) == 1
    assert await talk.metric("cctelegram_events_deduplicated_total") == 3


async def test_a_count_keeps_the_buttons_and_the_preview_of_the_first_message(
    talk: Bridge, people: People
) -> None:
    shown = {"buttons": [[{"text": "Mute", "data": "mute:disk"}]], "link_preview": False}
    (first,) = (await talk.post(**FULL, **shown))["message_ids"]
    await talk.until_message(first, "delivered")
    await talk.post(**FULL, **shown)
    counted = await people.until_text(ADA, "times since")
    assert buttons(counted) == ["Mute"]
    assert counted["link_preview_options"] == {"is_disabled": True}
    await people.tap(await people.question(ADA, "Disk full"), "Mute")
    await people.until_toast("Noted.")
    (response,) = await talk.responses()
    assert (response["text"], response["in_reply_to"]["message_id"]) == ("mute:disk", first)


async def test_a_count_keeps_what_the_client_has_edited(talk: Bridge, people: People) -> None:
    (first,) = (await talk.post(**FULL))["message_ids"]
    await talk.until_message(first, "delivered")
    changed = await talk.client.patch(f"/api/v1/messages/{first}", json={"title": "Disk full, on it"})
    assert changed.status_code == 202, changed.text
    await people.until_text(ADA, "Disk full, on it")
    await talk.post(**FULL)
    assert "Disk full, on it" in text_of(await people.until_text(ADA, "(2 times since"))


async def test_edits_are_paced_and_the_newest_number_is_shown(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        first = await bridge.post(**FULL)
        await bridge.until_message(first["message_ids"][0], "delivered")
        await bridge.post(**FULL)
        await people.until_text(ADA, "(2 times since 13:46 UTC)")
        for _ in range(5):
            await bridge.post(**FULL)
        assert len(await people.calls("editMessageText")) == 1
        clock.advance(31)
        await people.until_text(ADA, "(7 times since 13:46 UTC)")
        assert len(await people.calls("editMessageText")) == 2


async def test_after_the_window_the_event_is_a_new_message(
    settings: BridgeSettings, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        first = await bridge.post(**FULL, dedup_window="1m")
        clock.advance(59)
        assert (await bridge.post(**FULL))["event_id"] == first["event_id"]
        clock.advance(2)
        second = await bridge.post(**FULL)
        assert (second["status"], second["event_id"] == first["event_id"]) == ("queued", False)
        clock.advance(599)
        assert (await bridge.post(**FULL))["event_id"] == second["event_id"]


async def test_another_key_and_another_topic_are_not_repeats(talk: Bridge) -> None:
    for posted in (
        FULL,
        FULL | {"dedup_key": "cpu"},
        FULL | {"chat_id": GRACE},
        FULL | {"chat_id": [ADA, GRACE]},
    ):
        assert (await talk.post(**posted))["status"] == "queued"
    without = {name: value for name, value in FULL.items() if name != "dedup_key"}
    assert (await talk.post(**without))["status"] == "queued"
    assert (await talk.post(**FULL | {"chat_id": [GRACE, ADA]}))["status"] == "deduplicated"


async def test_of_events_at_once_exactly_one_is_sent(talk: Bridge) -> None:
    answers = await asyncio.gather(*(talk.post(**FULL) for _ in range(20)))
    assert sorted(answer["status"] for answer in answers) == ["deduplicated"] * 19 + ["queued"]
    assert len({answer["event_id"] for answer in answers}) == 1
    assert sorted(answer.get("repeats") or 0 for answer in answers) == list(range(20))


async def test_replicas_count_together_and_one_of_them_edits(
    replicas: BridgeSettings, people: People
) -> None:
    async with bridge_of(replicas) as one, bridge_of(replicas) as other:
        answers = await asyncio.gather(*(bridge.post(**FULL) for _ in range(10) for bridge in (one, other)))
        assert sorted(answer["status"] for answer in answers) == ["deduplicated"] * 19 + ["queued"]
        await until_repeats(other, answers[0]["message_ids"][0], 19)
        await people.until_text(ADA, "times since")
        assert len(await people.calls("sendMessage")) == 1
        assert len(await people.calls("editMessageText")) == 1


async def test_a_list_may_have_the_first_and_its_repeats(talk: Bridge) -> None:
    body = {"type": "info_notification", **FULL}
    response = await talk.client.post("/api/v1/events", json=[body, body | {"dedup_key": "cpu"}, body])
    first, other, repeat = response.json()["accepted"]
    assert [one["status"] for one in (first, other, repeat)] == ["queued", "queued", "deduplicated"]
    assert repeat["event_id"] == first["event_id"]
    assert repeat["message_ids"] == first["message_ids"]


async def test_a_repeated_request_is_counted_once(talk: Bridge) -> None:
    body = {"type": "info_notification", **FULL}
    await talk.post(**FULL)
    answers = [
        await talk.client.post("/api/v1/events", json=body, headers={"Idempotency-Key": "7"})
        for _ in range(3)
    ]
    assert [answer.json()["repeats"] for answer in answers] == [1, 1, 1]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]


@pytest.mark.parametrize(
    ("event", "loc"),
    [
        ({"dedup_window": "1m"}, ["dedup_window"]),
        ({"dedup_key": "a", "update_key": "a"}, ["dedup_key"]),
        ({"dedup_key": "a", "type": "approval_request", "data": {"approval_prompt": "?"}}, ["dedup_key"]),
        ({"dedup_key": ""}, ["dedup_key"]),
        ({"dedup_key": "a", "dedup_window": "31d"}, ["dedup_window"]),
    ],
)
async def test_what_cannot_be_counted_is_refused(
    quick: Bridge, event: dict[str, Any], loc: list[str]
) -> None:
    body = {"type": "info_notification", "title": "x"} | event
    answer = await quick.client.post("/api/v1/events", json=body)
    assert answer.status_code == 422
    assert [entry["loc"] for entry in answer.json()["errors"]] == [loc]


async def test_counts_and_their_edit_survive_a_kill(
    database_url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    body = {"type": "info_notification", **FULL}
    answers: list[dict[str, Any]] = []

    async def post(client: httpx.AsyncClient) -> None:
        answers.append((await client.post("/api/v1/events", json=body)).json())

    async with bridge_process(database_url, tmp_path, sandbox) as (process, client):
        await post(client)
        await until_delivered(client, answers[0]["message_ids"][0])
        await post(client)
        await post(client)
        process.kill()
        await asyncio.to_thread(process.wait, 30)
    async with bridge_process(database_url, tmp_path, sandbox) as (_, client):
        await post(client)
        assert [answer.get("repeats") for answer in answers] == [None, 1, 2, 3]
        await People(sandbox).until_text(ADA, "times since")
        assert len([m for m in await People(sandbox).messages(ADA) if "Disk full" in text_of(m)]) == 1


@on_sqlite
async def test_a_count_that_cannot_be_shown_keeps_no_other_one_back(
    database: Database, telemetry: Telemetry, clock: ManualClock
) -> None:
    """Such as of an event with a severity of another version."""
    for severity in ("fatal", "low"):
        for _ in range(2):
            body = orjson.dumps({"type": "custom_event", "title": severity}).decode()
            posted = making.submission(of=making.event(severity, severity=severity, body=body))
            key = DedupKey("default", severity, "topics", 600.0)
            posted = replace(posted, dedup=Deduplication((key,), lambda _: "{}"))
            await enqueue.store(database, [posted], clock.now)
        clock.advance(1)
    bot = make_bot("1:x", "http://127.0.0.1:9", 1, telemetry.count_call)
    metrics = OutboxMetrics(telemetry.registry, {"custom_event": "custom"})
    sender = Sender(bot, clock)
    outbox = Outbox(database=database, telemetry=telemetry, metrics=metrics, clock=clock, sender=sender)
    await RepeatCounts(outbox, None, clock).show_due()

    def edited(connection: Connection) -> list[str]:
        query = select(event.c.title).join(message, message.c.event_id == event.c.id)
        return list(connection.execute(query.where(message.c.edits.is_not(None))).scalars())

    assert await database.read("read", edited) == ["low"]


def test_a_number_that_does_not_fit_is_left_out() -> None:
    assert with_count(Text("x" * 4_096), 1, 0.0, "UTC") is None
    shown = with_count(Text("x"), 6, 37_860.0, "Europe/Berlin")
    assert shown is not None
    assert shown.text == "x\n\n… (7 times since 11:31 CET)"
