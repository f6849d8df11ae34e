"""What was decided is not lost with a process, and what may have been lost is asked again."""

import time

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of, buttons, said
from tests.servers import ManualClock, until


async def test_an_open_question_survives_a_restart_with_its_buttons(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        asked = await bridge.ask()
        shown = await people.question(ADA)
    async with bridge_of(settings) as bridge:
        await people.tap(shown, "Approve")
        assert (await bridge.until_status(asked["id"], "decided"))["decision"]["option"] == "approve"


async def test_a_tap_while_the_bridge_is_down_is_taken_when_it_is_back(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        asked = await bridge.ask()
        shown = await people.question(ADA)
    await people.tap(shown, "Deny")
    async with bridge_of(settings) as bridge:
        assert (await bridge.until_status(asked["id"], "decided"))["decision"]["option"] == "deny"
        await people.until_toast("Noted. ☑️ Decided: Deny")


async def test_an_edit_that_did_not_get_through_is_made_after_a_restart(
    settings: BridgeSettings, people: People
) -> None:
    broken = {"kind": "close", "methods": ["editMessageText", "answerCallbackQuery"], "times": None}
    async with bridge_of(settings) as bridge:
        asked = await bridge.ask(chat_id=[ADA, GRACE])
        await people.question(GRACE)
        shown = await people.question(ADA)
        await people.sandbox.faults(broken)
        await people.tap(shown, "Approve")
        await bridge.until_status(asked["id"], "decided")
    assert buttons(await people.question(ADA)) == ["Approve", "Deny"]
    await people.sandbox.no_faults()
    async with bridge_of(settings):
        for chat_id in (ADA, GRACE):
            assert buttons(await people.until_text(chat_id, "☑️ Decided: Approve, by Ada")) == []
        await people.until_toast("Noted. ☑️ Decided: Approve")


async def test_an_edit_whose_answer_was_lost_is_not_made_twice(talk: Bridge, people: People) -> None:
    asked = await talk.ask()
    shown = await people.question(ADA)
    await people.sandbox.faults(
        {"kind": "close", "deliver": True, "methods": ["editMessageText"], "times": 1}
    )
    await people.tap(shown, "Approve")
    decided = await talk.until_status(asked["id"], "decided")
    verdict = next(message for message in decided["messages"] if message["kind"] == "verdict")
    told = await talk.until_message(verdict["message_id"], "delivered")
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["unknown", "sent"]
    assert told["telegram_message_ids"] == [shown["message_id"]]
    assert len(await people.messages(ADA)) == 1


async def test_a_reply_to_a_copy_that_arrived_unknown_to_us_counts(talk: Bridge, people: People) -> None:
    """The answer of the first send is lost: what stands in the chat is no message that we know."""
    lost = {"kind": "answer", "status": 502, "deliver": True, "methods": ["sendMessage"], "times": 1}
    await people.sandbox.faults(
        lost, {"kind": "answer", "status": 502, "methods": ["sendMessage"], "times": None}
    )
    asked = await talk.ask()
    shown = await people.question(ADA)
    await people.say(ADA, "deny", reply_to=shown["message_id"])
    decided = await talk.until_status(asked["id"], "decided")
    assert (decided["decision"]["option"], decided["decision"]["via"]) == ("deny", "reply")
    await people.sandbox.no_faults()


async def test_where_the_question_was_deleted_the_verdict_is_sent(talk: Bridge, people: People) -> None:
    asked = await talk.ask()
    shown = await people.question(ADA)
    token = "1000000001:sandbox-token-for-local-use-only"
    gone = {"chat_id": ADA, "message_id": shown["message_id"]}
    await people.sandbox.client.post(f"/bot{token}/deleteMessage", json=gone)
    await talk.client.post(f"/api/v1/approvals/{asked['id']}/decide", json={"option": "approve"})
    sent = await people.until_text(ADA, "☑️ Decided: Approve, by API key default")
    assert sent["message_id"] > shown["message_id"]


async def test_a_question_that_was_decided_before_it_left_is_not_shown(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    busy = {"description": "Too Many Requests: retry after 5", "parameters": {"retry_after": 5}}
    await people.sandbox.faults({"kind": "answer", "status": 429, "chat_ids": [GRACE], "times": None} | busy)
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(chat_id=[ADA, GRACE])
        hers = next(one["message_id"] for one in asked["messages"] if one["chat_id"] == GRACE)
        # Not while it is under way: nobody can take back what Telegram may have by now.
        await bridge.until_message(hers, "retry_wait")
        await people.tap(await people.question(ADA), "Approve")
        decided = await bridge.until_status(asked["id"], "decided")
        await people.sandbox.no_faults()
        cancelled = await bridge.message(hers)
        assert cancelled["status"] == "cancelled"
        assert cancelled["events"][-1]["cause"] == "the question was decided before it was sent"
        clock.advance(10)
        verdict = next(
            one["message_id"]
            for one in decided["messages"]
            if (one["chat_id"], one["kind"]) == (GRACE, "verdict")
        )
        never = await bridge.until_message(verdict, "suppressed")
        assert never["last_error"] == "never_sent"
        assert await people.messages(GRACE) == []


async def test_after_a_silence_in_which_taps_died_open_questions_are_asked_again(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(chat_id=[ADA, GRACE])
        closed = await bridge.ask(title="Closed one?")
        await bridge.client.post(f"/api/v1/approvals/{closed['id']}/cancel")
        shown = await people.question(ADA)
        await people.question(GRACE)
        await bridge.until_heard()
    await people.tap(shown, "Approve")
    await people.sandbox.post("/clock/advance", {"seconds": 200})
    clock.advance(200)
    async with bridge_of(settings, clock) as bridge:
        again = await people.question(ADA, "Still open: Deploy 1.4?")
        assert buttons(again) == ["Approve", "Deny"]
        assert "please tap again" in said(again)
        assert again["reply_to_message"]["message_id"] == shown["message_id"]
        await people.question(GRACE, "Still open")
        assert (await bridge.approval(asked["id"]))["status"] == "open"
        await people.tap(again, "Deny")
        assert (await bridge.until_status(asked["id"], "decided"))["decision"]["option"] == "deny"
        for chat_id in (ADA, GRACE):

            async def all_edited(chat: int = chat_id) -> bool:
                return not any(buttons(message) for message in await people.messages(chat))

            await until(all_edited)
    assert not any("Still open: Closed" in said(message) for message in await people.messages(ADA))


async def test_a_short_silence_loses_no_tap_and_asks_nothing_again(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask()
        shown = await people.question(ADA)
        await bridge.until_heard()
    await people.tap(shown, "Approve")
    await people.sandbox.post("/clock/advance", {"seconds": 140})
    clock.advance(140)
    async with bridge_of(settings, clock) as bridge:
        assert (await bridge.until_status(asked["id"], "decided"))["decision"]["option"] == "approve"
    assert not any("Still open" in said(message) for message in await people.messages(ADA))


async def test_a_silence_while_the_bridge_runs_asks_again_too(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        await bridge.ask()
        await people.question(ADA)
        await bridge.until_heard()
        broken = {"kind": "answer", "status": 502, "methods": ["getUpdates", "deleteWebhook"], "times": None}
        await people.sandbox.faults(broken)
        # The poll under way ends well; the next one fails.
        await people.sandbox.post("/clock/advance", {"seconds": 160})

        async def failed() -> bool:
            return any(entry["status"] == 502 for entry in await people.calls("getUpdates"))

        await until(failed)
        clock.advance(160)

        async def stale() -> bool:
            return bool((await bridge.health())["status"] == "unhealthy")

        await until(stale)
        await people.sandbox.no_faults()
        await people.question(ADA, "Still open: Deploy 1.4?")
