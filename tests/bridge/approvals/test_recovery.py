"""Decisions survive a crash of the process; questions whose taps may be lost are sent again."""

import time

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock, until


async def test_an_open_question_survives_a_restart_with_its_buttons(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask()
        shown = await people.question(ADA)
    async with bridge_of(settings) as bridge:
        await people.tap(shown, "Approve")
        assert (await bridge.until_status(approval["id"], "decided"))["decision"]["option"] == "approve"


async def test_a_tap_while_the_bridge_is_down_counts_when_it_is_back(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask()
        shown = await people.question(ADA)
    await people.tap(shown, "Deny")
    async with bridge_of(settings) as bridge:
        assert (await bridge.until_status(approval["id"], "decided"))["decision"]["option"] == "deny"
        await people.until_toast("Noted. ☑️ Decided: Deny")


async def test_an_edit_that_failed_is_made_after_a_restart(settings: BridgeSettings, people: People) -> None:
    broken = {"kind": "close", "methods": ["editMessageText", "answerCallbackQuery"], "times": None}
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask(chat_id=[ADA, GRACE])
        await people.question(GRACE)
        shown = await people.question(ADA)
        await people.sandbox.faults(broken)
        await people.tap(shown, "Approve")
        await bridge.until_status(approval["id"], "decided")
    assert buttons(await people.question(ADA)) == ["Approve", "Deny"]
    await people.sandbox.no_faults()
    async with bridge_of(settings):
        for chat_id in (ADA, GRACE):
            assert buttons(await people.until_text(chat_id, "☑️ Decided: Approve, by Ada")) == []
        await people.until_toast("Noted. ☑️ Decided: Approve")


async def test_an_edit_whose_response_was_lost_is_shown_once(talk: Bridge, people: People) -> None:
    approval = await talk.ask()
    shown = await people.question(ADA)
    await people.sandbox.faults(
        {"kind": "close", "deliver": True, "methods": ["editMessageText"], "times": 1}
    )
    await people.tap(shown, "Approve")
    decided = await talk.until_status(approval["id"], "decided")
    verdict = next(message for message in decided["messages"] if message["kind"] == "verdict")
    edit = await talk.until_message(verdict["message_id"], "delivered")
    assert [attempt["outcome"] for attempt in edit["attempts"]] == ["unknown", "sent"]
    assert edit["telegram_message_ids"] == [shown["message_id"]]
    assert len(await people.messages(ADA)) == 1


async def test_a_reply_to_a_question_with_an_unknown_outcome_counts(talk: Bridge, people: People) -> None:
    """The response to the first send is lost, so the Telegram id of the question is unknown."""
    lost = {"kind": "answer", "status": 502, "deliver": True, "methods": ["sendMessage"], "times": 1}
    await people.sandbox.faults(
        lost, {"kind": "answer", "status": 502, "methods": ["sendMessage"], "times": None}
    )
    approval = await talk.ask()
    shown = await people.question(ADA)
    await people.say(ADA, "deny", reply_to=shown["message_id"])
    decided = await talk.until_status(approval["id"], "decided")
    assert (decided["decision"]["option"], decided["decision"]["via"]) == ("deny", "reply")
    await people.sandbox.no_faults()


async def test_if_the_question_was_deleted_the_verdict_is_sent_as_a_new_message(
    talk: Bridge, people: People
) -> None:
    approval = await talk.ask()
    shown = await people.question(ADA)
    token = "1000000001:sandbox-token-for-local-use-only"
    gone = {"chat_id": ADA, "message_id": shown["message_id"]}
    await people.sandbox.client.post(f"/bot{token}/deleteMessage", json=gone)
    await talk.client.post(f"/api/v1/approvals/{approval['id']}/decide", json={"option": "approve"})
    sent = await people.until_text(ADA, "☑️ Decided: Approve, by API key default")
    assert sent["message_id"] > shown["message_id"]


async def test_a_question_that_was_decided_before_it_was_sent_is_not_sent(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    busy = {"description": "Too Many Requests: retry after 5", "parameters": {"retry_after": 5}}
    await people.sandbox.faults({"kind": "answer", "status": 429, "chat_ids": [GRACE], "times": None} | busy)
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(chat_id=[ADA, GRACE])
        hers = next(one["message_id"] for one in approval["messages"] if one["chat_id"] == GRACE)
        # A message whose attempt is under way cannot be cancelled: Telegram may have it.
        await bridge.until_message(hers, "retry_wait")
        await people.tap(await people.question(ADA), "Approve")
        decided = await bridge.until_status(approval["id"], "decided")
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


async def test_after_an_outage_in_which_taps_were_lost_open_questions_are_repeated(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(chat_id=[ADA, GRACE])
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
        assert "please answer again" in text_of(again)
        assert again["reply_to_message"]["message_id"] == shown["message_id"]
        await people.question(GRACE, "Still open")
        assert (await bridge.approval(approval["id"]))["status"] == "open"
        await people.tap(again, "Deny")
        assert (await bridge.until_status(approval["id"], "decided"))["decision"]["option"] == "deny"
        for chat_id in (ADA, GRACE):

            async def all_edited(chat: int = chat_id) -> bool:
                return not any(buttons(message) for message in await people.messages(chat))

            await until(all_edited)
    assert not any("Still open: Closed" in text_of(message) for message in await people.messages(ADA))


async def test_a_short_outage_loses_no_tap_and_repeats_no_question(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask()
        shown = await people.question(ADA)
        await bridge.until_heard()
    await people.tap(shown, "Approve")
    await people.sandbox.post("/clock/advance", {"seconds": 140})
    clock.advance(140)
    async with bridge_of(settings, clock) as bridge:
        assert (await bridge.until_status(approval["id"], "decided"))["decision"]["option"] == "approve"
    assert not any("Still open" in text_of(message) for message in await people.messages(ADA))


async def test_an_outage_while_the_bridge_runs_repeats_questions_too(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        await bridge.ask()
        await people.question(ADA)
        await bridge.until_heard()
        broken = {"kind": "answer", "status": 502, "methods": ["getUpdates", "deleteWebhook"], "times": None}
        await people.sandbox.faults(broken)
        # The current poll succeeds; the next one fails.
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
