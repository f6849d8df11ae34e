"""DELETE /api/v1/messages/{id}: a message is deleted in the chat, in its order, or cancelled."""

from typing import Any

from services.bridge.settings import BridgeSettings
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.bridge.people import ADA, Bridge, People, bridge_of, text_of
from tests.bridge.tracking.test_edits import edited, sent
from tests.servers import ManualClock, Sandbox

FULL: dict[str, Any] = {"title": "Disk full", "chat_id": ADA, "dedup_key": "disk"}


async def asked(bridge: Bridge, message_id: str) -> dict[str, Any]:
    answer = await bridge.client.delete(f"/api/v1/messages/{message_id}")
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def deleted(bridge: Bridge, message_id: str) -> dict[str, Any]:
    accepted = await asked(bridge, message_id)
    return await bridge.until_message(accepted["message_id"], "delivered")


async def refusal(bridge: Bridge, message_id: str) -> str:
    answer = await bridge.client.delete(f"/api/v1/messages/{message_id}")
    assert answer.status_code == 409, answer.text
    return str(answer.json()["detail"])


async def test_a_message_is_deleted_and_both_histories_say_so(talk: Bridge, people: People) -> None:
    first = await sent(talk, correlation_id="run-7")
    other = await sent(talk, title="Build 8 runs")
    deletion = await deleted(talk, first)
    (shown,) = await people.messages(ADA)
    assert "Build 8 runs" in text_of(shown)
    assert (deletion["correlation_id"], deletion["title"]) == ("run-7", "Deletion: Build 7 runs")
    life = await talk.message(first)
    causes = [event["cause"] for event in life["events"]]
    assert f"to be deleted by the key default: message {deletion['id']}" in causes
    assert (life["status"], (await talk.message(other))["status"]) == ("delivered", "delivered")


async def test_every_part_is_deleted_by_a_call_of_its_own(talk: Bridge, people: People) -> None:
    first = await sent(talk, data={"results": "x" * 4_900})
    await deleted(talk, first)
    assert await people.messages(ADA) == []
    assert len(await people.calls("deleteMessage")) == 2


async def test_an_edited_message_is_deleted_by_either_id(talk: Bridge, people: People) -> None:
    first = await sent(talk)
    edit = await edited(talk, first, title="Build 7 is green")
    accepted = await asked(talk, edit["message_id"])
    assert accepted["deletes"] == first
    await talk.until_message(accepted["message_id"], "delivered")
    assert await people.messages(ADA) == []


async def test_a_repeated_request_gets_the_first_answer(talk: Bridge, people: People) -> None:
    first = await sent(talk)
    deletion = await deleted(talk, first)
    assert (await asked(talk, first))["message_id"] == deletion["id"]
    assert len(await people.calls("deleteMessage")) == 1


async def test_a_deleted_message_is_not_edited_any_more(talk: Bridge) -> None:
    first = await sent(talk)
    await deleted(talk, first)
    answer = await talk.client.patch(f"/api/v1/messages/{first}", json={"title": "x"})
    assert (answer.status_code, answer.json()["detail"]) == (409, "It is deleted.")


async def test_what_waits_is_cancelled_instead(talk: Bridge, people: People) -> None:
    accepted = await talk.post(title="Later", deliver_at="2027-01-01T00:00:00Z")
    (waiting,) = accepted["message_ids"]
    for _ in range(2):
        assert await asked(talk, waiting) == {"message_id": None, "deletes": waiting, "cancelled": True}
    life = await talk.message(waiting)
    assert (life["status"], life["events"][-1]["cause"]) == ("cancelled", "cancelled by default: deleted")
    assert await people.calls("deleteMessage") == []


async def test_a_deletion_that_telegram_refuses_is_a_dead_letter_and_sends_nothing(
    talk: Bridge, people: People
) -> None:
    first = await sent(talk)
    words = "Bad Request: message can't be deleted for everyone"
    fault = {"kind": "answer", "status": 400, "description": words, "methods": ["deleteMessage"]}
    await people.sandbox.faults(fault)
    accepted = await asked(talk, first)
    refused = await talk.until_message(accepted["message_id"], "dead_letter")
    assert refused["last_error"] == "cannot_delete"
    assert "be deleted for everyone" in str(refused)
    assert len(await people.messages(ADA)) == 1
    again = await asked(talk, first)
    assert again["message_id"] != accepted["message_id"]
    await talk.until_message(again["message_id"], "delivered")
    assert await people.messages(ADA) == []


async def test_what_is_gone_already_counts_as_deleted(talk: Bridge, people: People) -> None:
    first = await sent(talk)
    (number,) = (await talk.message(first))["telegram_message_ids"]
    gone = {"chat_id": ADA, "message_id": number}
    await people.sandbox.client.post(f"/bot{DEFAULT_TOKEN}/deleteMessage", json=gone)
    deletion = await deleted(talk, first)
    assert "message to delete not found" in str(deletion).lower()


async def test_a_deletion_whose_answer_was_lost_is_made_again(talk: Bridge, people: People) -> None:
    first = await sent(talk)
    await people.sandbox.faults({"kind": "close", "deliver": True, "methods": ["deleteMessage"]})
    deletion = await deleted(talk, first)
    assert deletion["possible_duplicate"] is False
    assert await people.messages(ADA) == []


async def test_a_deletion_waits_behind_earlier_messages_of_its_chat(
    settings: BridgeSettings, people: People, sandbox: Sandbox
) -> None:
    async with bridge_of(settings) as bridge:
        first = await sent(bridge)
        later = [await bridge.post(title=f"Build {n}") for n in range(3)]
        await deleted(bridge, first)
        for accepted in later:
            assert (await bridge.message(accepted["message_ids"][0]))["status"] == "delivered"


async def test_a_repeat_does_not_bring_a_deleted_message_back(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        (first,) = (await bridge.post(**FULL))["message_ids"]
        await bridge.until_message(first, "delivered")
        await deleted(bridge, first)
        assert (await bridge.post(**FULL))["status"] == "deduplicated"
        last = await sent(bridge, title="Another", chat_id=ADA)
        clock.advance(31)
        await bridge.post(**FULL)
        await sent(bridge, title="The last", chat_id=ADA)
        assert await people.calls("editMessageText") == []
        assert (await bridge.message(last))["status"] == "delivered"


async def test_a_later_update_of_a_deleted_message_is_a_new_one(talk: Bridge, people: People) -> None:
    first = await sent(talk, update_key="build-7")
    await deleted(talk, first)
    await sent(talk, title="Build 7 is green", update_key="build-7")
    (shown,) = await people.messages(ADA)
    assert "Build 7 is green" in text_of(shown)


async def test_what_is_nowhere_and_what_is_no_event_is_refused_in_words(talk: Bridge, people: People) -> None:
    assert (await talk.client.delete("/api/v1/messages/nothing")).status_code == 404
    question = await talk.ask()
    one = question["messages"][0]["message_id"]
    await talk.until_message(one, "delivered")
    assert await refusal(talk, one) == "It is no message of an event."
    lost = await talk.post(title="nowhere", chat_id=424242)
    (message_id,) = lost["message_ids"]
    await talk.until_message(message_id, "dead_letter")
    assert "nothing of it is known" in await refusal(talk, message_id)


async def test_a_message_of_a_group_that_became_a_supergroup_is_not_deleted_there(
    talk: Bridge, people: People, sandbox: Sandbox
) -> None:
    first = await sent(talk, chat_id=-2001)
    upgrade = {"new_id": -1_001_000_002_001}
    answer = await sandbox.client.put("/control/chats/-2001/upgrade", json=upgrade)
    assert answer.status_code == 200, answer.text
    accepted = await asked(talk, first)
    refused = await talk.until_message(accepted["message_id"], "dead_letter")
    assert (refused["last_error"], "supergroup" in str(refused)) == ("cannot_delete", True)
