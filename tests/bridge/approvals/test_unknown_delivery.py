"""A question whose delivery is unknown, since Telegram's answer was lost: it may stand in the chat."""

import time
from typing import Any

import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock, until

LOST = {"kind": "close", "deliver": True, "chat_ids": [ADA], "methods": ["sendMessage"]}


def question_of(approval: dict[str, Any], chat_id: int = ADA) -> str:
    """The id of the message that asks in a chat."""
    return next(
        str(one["message_id"])
        for one in approval["messages"]
        if (one["chat_id"], one["kind"]) == (chat_id, "question")
    )


async def verdicts(people: People, part: str, chat_id: int = ADA) -> list[dict[str, Any]]:
    """The messages of a chat that show the result."""
    return [message for message in await people.messages(chat_id) if part in text_of(message)]


async def until_verdicts_end(bridge: Bridge, approval_id: str) -> list[str]:
    """Waits until all results are sent, or ended otherwise; returns their states."""

    async def look() -> list[str] | None:
        shown = [one for one in (await bridge.approval(approval_id))["messages"] if one["kind"] == "verdict"]
        lives = [await bridge.message(one["message_id"]) for one in shown]
        return [life["status"] for life in lives] if shown and all(x["finished_at"] for x in lives) else None

    found = await until(look)
    assert found is not None
    return found


async def close(bridge: Bridge, approval_id: str, how: str, clock: ManualClock) -> str:
    """Closes an approval; returns what the result begins with."""
    if how == "decided":
        await bridge.decide(approval_id, "deny")
        return "☑️ Decided: Deny"
    if how == "cancelled":
        answer = await bridge.client.post(f"/api/v1/approvals/{approval_id}/cancel")
        assert answer.status_code == 200
        return "🚫 Cancelled"
    clock.advance(600)
    await bridge.until_status(approval_id, "expired")
    return "⌛ Expired without an answer"


@pytest.mark.parametrize("how", ["decided", "cancelled", "expired"])
async def test_a_question_that_may_stand_in_the_chat_gets_its_result_as_a_message_of_its_own(
    settings: BridgeSettings, people: People, clock: ManualClock, how: str
) -> None:
    clock.now = time.time()
    await people.sandbox.faults(LOST | {"times": 1})
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(chat_id=[ADA, GRACE], expires_in=600)
        asked = question_of(approval)
        await bridge.until_message(asked, "retry_wait")
        shown = await people.question(ADA)
        await people.question(GRACE)
        result = await close(bridge, approval["id"], how, clock)
        own = await people.until_text(ADA, result)
        assert own["message_id"] > shown["message_id"]
        assert "git push production" in text_of(own)
        # The other chat's question is edited, as ever.
        edited = await people.until_text(GRACE, result)
        assert buttons(edited) == []
        assert await until_verdicts_end(bridge, approval["id"]) == ["delivered", "delivered"]
        # It was not repeated, and nothing claims that it was not sent.
        life = await bridge.message(asked)
        assert (life["status"], life["attempts_made"]) == ("unknown", 1)
        assert len(await verdicts(people, result)) == 1
        assert len(await verdicts(people, result, GRACE)) == 1


async def test_where_a_question_was_repeated_the_copy_is_edited_and_the_result_is_sent_too(
    settings: BridgeSettings, people: People
) -> None:
    """The id of the first copy is unknown, so that its buttons cannot be removed."""
    await people.sandbox.faults(LOST | {"times": 1})
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask()
        await bridge.until_message(question_of(approval), "delivered")
        first, second = await people.messages(ADA)
        await bridge.decide(approval["id"])
        assert await until_verdicts_end(bridge, approval["id"]) == ["delivered"]
        unknown, edited, own = await people.messages(ADA)
        assert (unknown["message_id"], edited["message_id"]) == (first["message_id"], second["message_id"])
        assert (buttons(unknown), buttons(edited), buttons(own)) == (["Approve", "Deny"], [], [])
        assert "☑️ Decided: Approve" in text_of(edited)
        assert text_of(own) == text_of(edited)
        # A tap on the first copy removes its buttons.
        await people.tap(unknown, "Deny")
        await people.until_toast("Too late")

        async def removed() -> bool:
            return not any(buttons(message) for message in await people.messages(ADA))

        await until(removed)


async def test_a_question_that_is_repeated_after_its_decision_is_edited_and_the_result_is_sent_too(
    settings: BridgeSettings, people: People
) -> None:
    await people.sandbox.faults(
        {"kind": "latency", "seconds": 1.0, "methods": ["sendMessage"], "times": 1}, LOST | {"times": 1}
    )
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask()
        await bridge.until_message(question_of(approval), "sending")
        await bridge.decide(approval["id"])
        assert await until_verdicts_end(bridge, approval["id"]) == ["delivered"]
        copies = await people.messages(ADA)
        assert [("Decided" in text_of(copy), bool(buttons(copy))) for copy in copies] == [
            (False, True),
            (True, False),
            (True, False),
        ]


async def test_a_tap_on_a_copy_whose_id_is_unknown_decides_and_removes_its_buttons(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    await people.sandbox.faults(LOST | {"times": 1})
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask()
        await bridge.until_message(question_of(approval), "retry_wait")
        await people.tap(await people.question(ADA), "Approve")
        await bridge.until_status(approval["id"], "decided")
        await people.until_text(ADA, "☑️ Decided: Approve, by Ada")

        async def removed() -> bool:
            return not any(buttons(message) for message in await people.messages(ADA))

        await until(removed)
        assert len(await people.messages(ADA)) == 2


async def test_a_question_that_was_given_up_after_lost_answers_gets_its_result(
    settings: BridgeSettings, people: People
) -> None:
    await people.sandbox.faults(LOST | {"times": None})
    async with bridge_of(settings.model_copy(update={"max_resends": 1})) as bridge:
        approval = await bridge.ask()
        life = await bridge.until_message(question_of(approval), "dead_letter")
        assert (life["possible_duplicate"], life["attempts_made"]) == (True, 2)
        await people.sandbox.no_faults()
        await bridge.decide(approval["id"])
        await people.until_text(ADA, "☑️ Decided: Approve")


async def test_a_question_that_is_held_gets_its_result(talk: Bridge, people: People) -> None:
    await people.sandbox.faults(LOST | {"times": 1})
    posted = await talk.post(
        type="approval_request",
        title="Deploy 1.4?",
        chat_id=ADA,
        on_unknown="hold",
        data={"approval_prompt": "git push production"},
    )
    await talk.until_message(posted["message_ids"][0], "unknown")
    await talk.decide(posted["approval_id"])
    await people.until_text(ADA, "☑️ Decided: Approve")


async def test_a_question_that_is_closed_is_not_replayed(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    """It would stand in the chat with buttons, below its result."""
    clock.now = time.time()
    await people.sandbox.faults(LOST | {"times": 1})
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask()
        asked = question_of(approval)
        await bridge.until_message(asked, "retry_wait")
        await bridge.decide(approval["id"])
        await until_verdicts_end(bridge, approval["id"])
        answer = await bridge.client.post(f"/api/v1/messages/{asked}/replay")
        assert (answer.status_code, answer.json()["state"]) == (409, "unknown")
        assert answer.json()["detail"] == "It is out of date: a later message has replaced it."
        job = await bridge.client.post("/api/v1/dead-letters/replay", json={"status": ["unknown"]})
        path = f"/api/v1/jobs/{job.json()['id']}"

        async def done() -> dict[str, Any] | None:
            found = (await bridge.client.get(path)).json()
            return dict(found) if found["status"] == "done" else None

        assert (await until(done) or {})["progress"] == {"total": 1, "passed": 1, "replayed": 0}
        assert (await bridge.message(asked))["status"] == "unknown"
