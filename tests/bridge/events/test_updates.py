"""Updates as their readers see them: the lowest message of an update key in a chat shows its newest state."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.bridge.settings import BridgeSettings
from tests import servers
from tests.bridge.people import ADA, TEAM, Bridge, People, bridge_of, text_of
from tests.servers import until

FORUM, SUPERGROUP = -1001000000001, -1001000002001
LONG = "\n".join(f"line {number} of the log" for number in range(250))


async def posted(bridge: Bridge, title: str, client: httpx.AsyncClient | None = None, **fields: Any) -> str:
    """Posts an update, and waits until it has ended; returns its state."""
    body = {"type": "progress_update", "title": title, "update_key": "build-7", "chat_id": ADA} | fields
    answer = await (client or bridge.client).post("/api/v1/events", json=body)
    assert answer.status_code == 202, answer.text
    (message_id,) = answer.json()["message_ids"]
    return str((await bridge.until_message_finished(message_id))["status"])


async def shown(people: People, chat_id: int = ADA) -> list[str]:
    """The first line of each text in a chat, without its sign."""
    texts = [text_of(message) for message in await people.messages(chat_id)]
    return [text.splitlines()[0].partition(" ")[2] for text in texts if text]


@pytest.fixture
async def other(talk: Bridge) -> AsyncIterator[httpx.AsyncClient]:
    """The client of another API key."""
    body = {"name": "other", "scopes": ["events:write"]}
    key = (await talk.client.post("/api/v1/keys", json=body)).json()
    async with servers.http(str(talk.client.base_url), key=key["secret"]) as client:
        yield client


async def test_two_clients_with_the_same_key_do_not_overwrite_each_other(
    talk: Bridge, people: People, other: httpx.AsyncClient
) -> None:
    await posted(talk, "mine")
    await posted(talk, "theirs", other)
    assert await shown(people) == ["mine", "theirs"]
    await posted(talk, "mine, done")
    await posted(talk, "theirs, done", other)
    assert await shown(people) == ["mine, done", "theirs, done"]


async def test_each_topic_shows_its_own_state(talk: Bridge, people: People) -> None:
    await posted(talk, "in CI", chat_id=FORUM, thread_id=7)
    await posted(talk, "in General", chat_id=FORUM)
    await posted(talk, "done in CI", chat_id=FORUM, thread_id=7)
    await posted(talk, "done in General", chat_id=FORUM, thread_id=1)
    assert await shown(people, FORUM) == ["done in CI", "done in General"]
    threads = [message.get("message_thread_id") for message in await people.messages(FORUM)]
    assert threads == [7, None]


async def test_a_newer_message_does_not_take_the_place_of_the_one_that_is_updated(
    talk: Bridge, people: People
) -> None:
    await posted(talk, "10 %")
    await posted(talk, "something else", update_key=None)
    await posted(talk, "100 %")
    assert await shown(people) == ["100 %", "something else"]


async def test_a_state_that_fits_into_no_edit_is_a_new_message_which_is_edited_from_then_on(
    talk: Bridge, people: People
) -> None:
    await posted(talk, "10 %")
    await posted(talk, "failed", data={"error_message": LONG})
    parts = await people.messages(ADA)
    assert len(parts) > 2
    # A state of several messages is not replaced in part.
    await posted(talk, "retried")
    await posted(talk, "done")
    after = await people.messages(ADA)
    assert after[:-1] == parts
    assert (await shown(people))[-1] == "done"


async def test_an_update_that_happened_earlier_and_arrives_later_changes_nothing(
    talk: Bridge, people: People
) -> None:
    now = datetime.now(UTC)
    times = [(now - timedelta(seconds=seconds)).isoformat() for seconds in (30, 20, 10)]
    assert await posted(talk, "10 %", timestamp=times[0]) == "delivered"
    assert await posted(talk, "100 %", timestamp=times[2]) == "delivered"
    assert await posted(talk, "50 %", timestamp=times[1]) == "suppressed"
    assert await shown(people) == ["100 %"]


async def test_of_a_list_of_updates_the_first_and_the_last_are_shown(talk: Bridge, people: People) -> None:
    body = [
        {"type": "progress_update", "title": f"{n} %", "update_key": "build-7", "chat_id": ADA}
        for n in range(0, 100, 10)
    ]
    accepted = (await talk.client.post("/api/v1/events", json=body)).json()["accepted"]
    ended = [await talk.until_message_finished(one["message_ids"][0]) for one in accepted]
    assert [life["status"] for life in ended] == ["delivered", *["suppressed"] * 8, "delivered"]
    assert await shown(people) == ["90 %"]
    assert len(await people.calls("editMessageText")) == 1


async def test_after_a_lost_answer_the_lowest_message_shows_the_newest_state(
    talk: Bridge, people: People
) -> None:
    await people.sandbox.faults({"kind": "close", "deliver": True})
    await posted(talk, "10 %")
    await posted(talk, "100 %")
    first, last = await shown(people)
    assert (first, last) == ("10 %", "100 %")


async def test_where_a_lost_first_message_is_held_the_next_state_is_shown_and_edited(
    talk: Bridge, people: People
) -> None:
    await people.sandbox.faults({"kind": "close", "deliver": True})
    assert await posted(talk, "10 %", on_unknown="hold") == "unknown"
    await posted(talk, "50 %")
    await posted(talk, "100 %")
    assert await shown(people) == ["10 %", "100 %"]


async def test_a_muted_chat_shows_the_end_of_what_it_saw_begin(talk: Bridge, people: People) -> None:
    await posted(talk, "10 %")
    await people.say(ADA, "/mute")
    await people.until_text(ADA, "Muted")
    assert await posted(talk, "begun while muted", update_key="build-8") == "suppressed"
    assert await posted(talk, "100 %") == "delivered"
    assert (await shown(people))[0] == "100 %"


async def test_quiet_hours_delay_new_messages_and_no_edits(settings: BridgeSettings, people: People) -> None:
    async with bridge_of(settings) as bridge:
        await posted(bridge, "10 %")
        now = datetime.now(UTC)
        quiet = {
            "from": (now - timedelta(hours=1)).strftime("%H:%M"),
            "to": (now + timedelta(hours=2)).strftime("%H:%M"),
            "action": "delay",
        }
        body = {"time_zone": "UTC", "quiet_hours": quiet}
        assert (await bridge.client.put(f"/api/v1/chats/{ADA}", json=body)).status_code == 200
        waits = await bridge.post(title="not now", chat_id=ADA)

        async def delayed() -> bool:
            return bool((await bridge.message(waits["message_ids"][0]))["quiet_until"])

        await until(delayed)
        assert await posted(bridge, "100 %") == "delivered"
        assert await shown(people) == ["100 %"]


async def test_a_group_that_became_a_supergroup_shows_the_next_state_there(
    talk: Bridge, people: People
) -> None:
    await posted(talk, "10 %", chat_id=TEAM)
    await people.sandbox.post(f"/chats/{TEAM}/upgrade", {"new_id": SUPERGROUP}, method="PUT")
    await posted(talk, "50 %", chat_id=TEAM)
    await posted(talk, "100 %", chat_id=TEAM)
    assert (await shown(people, SUPERGROUP))[-1] == "100 %"
