"""Events with a digest key: one message for many, once."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of, text_of
from tests.bridge.tracking.test_killed import bridge_process
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.servers import ManualClock, Sandbox, until

NIGHTLY: dict[str, Any] = {"chat_id": ADA, "digest_key": "nightly", "digest_window": "15m"}


@pytest.fixture
def small(bridge_settings: BridgeFactory) -> BridgeSettings:
    """On SQLite alone, for what no database changes."""
    return bridge_settings(telegram_allowed_users=[ADA, GRACE])


async def until_digest(bridge: Bridge, message_id: str) -> str:
    """The id of the message that shows a message."""

    async def look() -> str | None:
        digest = (await bridge.message(message_id))["digest"]
        return digest["message_id"] if digest else None

    found = await until(look)
    assert found is not None
    return found


async def posted(bridge: Bridge, *titles: str, **fields: Any) -> list[str]:
    """The ids of the messages of events with these titles."""
    return [(await bridge.post(**NIGHTLY | fields | {"title": title}))["message_ids"][0] for title in titles]


async def sent(people: People, chat_id: int = ADA) -> list[str]:
    return [text_of(shown) for shown in await people.messages(chat_id)]


async def test_events_of_a_window_are_one_message_with_the_most_severe_first(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        ids = await posted(bridge, "Unit tests", "Unit tests", type="test_passed")
        clock.advance(60)
        ids += await posted(bridge, "Deploy", type="task_failed", severity="high")
        waits = await bridge.message(ids[0])
        assert (waits["status"], waits["deliver_at"]) == ("queued", "1970-01-12T14:01:40.000Z")
        assert waits["digest"] == {
            "key": "nightly",
            "until": "1970-01-12T14:01:40.000Z",
            "message_id": None,
            "members": ids,
        }
        assert waits["events"][1]["cause"] == "waits in the digest nightly until 1970-01-12T14:01:40.000Z"
        clock.advance(841)
        shown_by = await until_digest(bridge, ids[0])
        for message_id in (*ids, shown_by):
            assert (await bridge.until_message(message_id, "delivered"))["digest"]["members"] == ids
        assert await sent(people) == [
            "🗞️ nightly: 3 events since 13:46 UTC\n\n❌ Deploy · high · 13:47\n✅ Unit tests · 2 times · 13:46"
        ]
        assert await bridge.metric("cctelegram_messages_digested_total") == 3
        await bridge.until_metric("cctelegram_messages_delivered_total", 4)
        ended = await bridge.message(ids[0])
        assert (ended["deliver_at"], ended["events"][-1]["cause"]) == (
            None,
            f"delivered with message {shown_by}",
        )
        shown = await bridge.message(shown_by)
        assert (shown["severity"], shown["title"]) == ("high", "nightly: 3 events")


async def test_one_event_alone_is_sent_as_it_is(
    small: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(small, clock) as bridge:
        (alone,) = await posted(bridge, "Deploy", description="All of it")
        clock.advance(901)
        assert (await bridge.until_message(alone, "delivered"))["digest"] is None
        assert "All of it" in (await sent(people))[0]


async def test_urgent_and_critical_events_are_not_held_back(quick: Bridge) -> None:
    for more in ({"priority": "urgent"}, {"severity": "critical"}):
        (at_once,) = await posted(quick, "Fire", **more)
        assert (await quick.until_message(at_once, "delivered"))["digest"] is None


async def test_other_topics_and_keys_are_other_digests_and_a_late_event_opens_the_next(
    small: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(small, clock) as bridge:
        first = await posted(bridge, "a", "b", chat_id=[ADA, GRACE])
        other = await posted(bridge, "c", "d", digest_key="weekly")
        clock.advance(901)
        for message_id in (*first, *other):
            await bridge.until_message(message_id, "delivered")
        late = await posted(bridge, "e", "f")
        assert (await bridge.message(late[0]))["digest"]["members"] == late
        assert [text.splitlines()[0] for text in await sent(people, GRACE)] == [
            "🗞️ nightly: 2 events since 13:46 UTC"
        ]
        assert len(await sent(people)) == 2


async def test_a_cancelled_and_an_expired_event_are_not_in_the_digest(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        a, b, cancelled = await posted(bridge, "a", "b", "cancelled")
        (expired,) = await posted(bridge, "expired", expires_in="1000s")
        answer = await bridge.client.post(f"/api/v1/messages/{cancelled}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        clock.advance(1_001)
        assert (await bridge.until_message(expired, "expired"))["digest"] is None
        for message_id in (a, b):
            await bridge.until_message(message_id, "delivered")
        assert (await bridge.message(cancelled))["status"] == "cancelled"
        (text,) = await sent(people)
        assert ("cancelled" in text, "expired" in text) == (False, False)


async def test_a_muted_chat_gets_no_digest_and_its_events_end_with_it(
    small: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(small, clock) as bridge:
        ids = await posted(bridge, "a", "b")
        await people.say(ADA, "/mute 1h")
        await people.until_text(ADA, "uted")
        clock.advance(901)
        shown_by = await until_digest(bridge, ids[0])
        for message_id in (shown_by, *ids):
            ended = await bridge.until_message(message_id, "suppressed")
            assert ended["last_error"] == "muted"


async def test_a_digest_waits_for_the_end_of_quiet_hours_and_its_events_with_it(
    small: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(small, clock) as bridge:
        quiet = {"quiet_hours": {"from": "14:00", "to": "15:00"}}
        assert (await bridge.client.put(f"/api/v1/chats/{ADA}", json=quiet)).status_code == 200
        ids = await posted(bridge, "a", "b")
        clock.advance(901)
        shown_by = await until_digest(bridge, ids[0])

        async def deferred() -> bool:
            cause = (await bridge.message(shown_by))["events"][-1]["cause"]
            return bool(cause == "quiet hours until 1970-01-12T15:00+00:00")

        assert await until(deferred)
        assert [(await bridge.message(one))["status"] for one in (shown_by, *ids)] == ["queued"] * 3
        # An event after the end of the window is in the next digest.
        (late,) = await posted(bridge, "c")
        assert (await bridge.message(late))["digest"]["members"] == [late]
        assert await sent(people) == []
        clock.advance(3_600)
        for message_id in (shown_by, *ids, late):
            await bridge.until_message(message_id, "delivered")
        first, second = await sent(people)
        assert first.startswith("🗞️ nightly: 2 events since 13:46 UTC")
        assert "c" in second


async def test_events_are_dead_letters_with_their_digest_and_delivered_by_its_replay(
    settings: BridgeSettings, people: People, clock: ManualClock, sandbox: Sandbox
) -> None:
    async with bridge_of(settings, clock) as bridge:
        ids = await posted(bridge, "a", "b")
        await sandbox.faults({"kind": "answer", "status": 400, "description": "Bad Request: chat not found"})
        clock.advance(901)
        shown_by = await until_digest(bridge, ids[0])
        for message_id in (shown_by, *ids):
            await bridge.until_message(message_id, "dead_letter")
        for action in ("replay", "cancel"):
            refused = await bridge.client.post(f"/api/v1/messages/{ids[0]}/{action}")
            assert refused.status_code == 409
            assert shown_by in refused.json()["detail"]
        assert (await bridge.client.post(f"/api/v1/messages/{shown_by}/replay")).status_code == 200
        for message_id in (shown_by, *ids):
            await bridge.until_message(message_id, "delivered")
        assert len(await sent(people)) == 1


async def test_an_event_of_a_digest_is_changed_by_the_message_that_shows_it(
    small: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(small, clock) as bridge:
        ids = await posted(bridge, "a", "b")
        clock.advance(901)
        await bridge.until_message(ids[0], "delivered")
        shown_by = await until_digest(bridge, ids[0])
        for request in (
            bridge.client.patch(f"/api/v1/messages/{ids[0]}", json={"title": "c"}),
            bridge.client.delete(f"/api/v1/messages/{ids[0]}"),
        ):
            refused = await request
            assert (refused.status_code, shown_by in refused.json()["detail"]) == (409, True)
        assert (await bridge.client.delete(f"/api/v1/messages/{shown_by}")).status_code == 202

        async def gone() -> bool:
            return not await sent(people)

        await until(gone)


async def test_a_repeated_request_joins_once_and_a_list_joins_together(
    small: BridgeSettings, clock: ManualClock
) -> None:
    async with bridge_of(small, clock) as bridge:
        body = [{"type": "info_notification", "title": str(n), **NIGHTLY} for n in range(3)]
        answers = [
            await bridge.client.post("/api/v1/events", json=body, headers={"Idempotency-Key": "7"})
            for _ in range(2)
        ]
        ids = [one["message_ids"][0] for one in answers[0].json()["accepted"]]
        assert answers[1].json() == answers[0].json()
        assert (await bridge.message(ids[0]))["digest"]["members"] == ids


async def test_replicas_collect_together_and_one_of_them_sends(
    replicas: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(replicas, clock) as one, bridge_of(replicas, clock) as other:
        answers = await asyncio.gather(
            *(bridge.post(**NIGHTLY, title=str(n)) for n in range(10) for bridge in (one, other))
        )
        clock.advance(901)
        for answer in answers:
            await other.until_message(answer["message_ids"][0], "delivered")
        assert len(await people.calls("sendMessage")) == 1
        assert (await sent(people))[0].startswith("🗞️ nightly: 20 events")


@on_sqlite
async def test_a_digest_survives_a_kill_in_each_phase(
    database_url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    people = People(sandbox)
    body = {"type": "info_notification", **NIGHTLY, "digest_window": 2}
    ids: list[str] = []

    async def post(client: httpx.AsyncClient) -> None:
        answer = await client.post("/api/v1/events", json=body | {"title": str(len(ids))})
        assert answer.status_code == 202
        ids.extend(answer.json()["message_ids"])

    async def state(client: httpx.AsyncClient, message_id: str) -> str:
        return str((await client.get(f"/api/v1/messages/{message_id}")).json()["status"])

    async def is_being_sent(client: httpx.AsyncClient) -> bool:
        digest = (await client.get(f"/api/v1/messages/{ids[0]}")).json()["digest"]
        return digest["message_id"] is not None and await state(client, digest["message_id"]) == "sending"

    async with bridge_process(database_url, tmp_path, sandbox) as (process, client):
        await post(client)
        await post(client)
        process.kill()
        await asyncio.to_thread(process.wait, 30)
    await sandbox.faults({"kind": "hang", "seconds": 60, "methods": ["sendMessage"]})
    async with bridge_process(database_url, tmp_path, sandbox) as (process, client):
        await until(lambda: is_being_sent(client))
        process.kill()
        await asyncio.to_thread(process.wait, 30)
    async with bridge_process(database_url, tmp_path, sandbox) as (_, client):

        async def ended() -> bool:
            return all([await state(client, message_id) == "delivered" for message_id in ids])

        await until(ended)
        (text,) = await sent(people)
        assert "🗞️ nightly: 2 events" in text


@pytest.mark.parametrize(
    ("event", "loc"),
    [
        ({"digest_window": "1m"}, "digest_window"),
        ({"digest_key": "a", "digest_window": "8d"}, "digest_window"),
        ({"digest_key": "a", "dedup_key": "a"}, "dedup_key"),
        ({"digest_key": "a", "deliver_at": "1h"}, "deliver_at"),
        ({"digest_key": "a", "pin": True}, "pin"),
        ({"digest_key": "a", "expires_in": "10m"}, "expires_in"),
        ({"digest_key": "a", "type": "approval_request", "data": {"approval_prompt": "?"}}, "digest_key"),
    ],
)
async def test_what_cannot_be_in_a_digest_is_refused(quick: Bridge, event: dict[str, Any], loc: str) -> None:
    body = {"type": "info_notification", "title": "x", "chat_id": ADA} | event
    answer = await quick.client.post("/api/v1/events", json=body)
    assert answer.status_code == 422
    assert [entry["loc"] for entry in answer.json()["errors"]] == [[loc]]
