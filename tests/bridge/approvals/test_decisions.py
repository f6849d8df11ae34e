"""The first answer of an approver decides; every other answer is recorded and gets its outcome."""

import asyncio
import time

import httpx
import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, MALLORY, TEAM, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock, Sandbox, before_the_wait_ends, until


async def test_a_tap_decides_and_the_question_is_edited_in_every_chat(talk: Bridge, people: People) -> None:
    approval = await talk.ask(chat_id=[ADA, GRACE])
    await people.question(GRACE)
    await people.tap(await people.question(ADA), "Approve")
    decided = await talk.until_status(approval["id"], "decided")
    assert decided["decision"]["option"] == "approve"
    assert decided["decision"]["user_id"] == ADA
    assert decided["decision"]["via"] == "tap"
    for chat_id in (ADA, GRACE):
        edited = await people.until_text(chat_id, "☑️ Decided: Approve, by Ada")
        assert "git push production" in text_of(edited)
        assert buttons(edited) == []
    assert "Noted. ☑️ Decided: Approve, by Ada" in await people.until_toast("Noted")


async def test_a_late_tap_is_answered_with_the_decision_and_changes_nothing(
    talk: Bridge, people: People
) -> None:
    approval = await talk.ask(chat_id=[ADA, GRACE])
    hers = await people.question(GRACE)
    await people.sandbox.faults(
        {"kind": "answer", "status": 502, "methods": ["editMessageText"], "chat_ids": [GRACE], "times": None}
    )
    await people.tap(await people.question(ADA), "Approve")
    await talk.until_status(approval["id"], "decided")
    await people.tap(hers, "Deny")
    assert "☑️ Decided: Approve, by Ada" in await people.until_toast("Too late")
    found = await talk.approval(approval["id"])
    assert found["decision"]["option"] == "approve"
    assert [(a["user_id"], a["option"], a["outcome"]) for a in found["answers"]] == [
        (ADA, "approve", "decided"),
        (GRACE, "deny", "late"),
    ]


async def test_a_tap_of_a_person_who_is_no_approver_is_answered_and_recorded(
    talk: Bridge, people: People
) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    approval = await talk.ask(chat_id=TEAM, approvers=[GRACE])
    shown = await people.question(TEAM)
    await people.tap(shown, "Approve", MALLORY)
    await people.until_toast("You may not decide this")
    await people.tap(shown, "Approve", ADA)
    await talk.until_answered(approval["id"], "foreign")

    async def both() -> bool:
        return len((await talk.approval(approval["id"]))["answers"]) == 2

    await until(both)
    found = await talk.approval(approval["id"])
    assert found["status"] == "open"
    assert [(a["user_id"], a["outcome"]) for a in found["answers"]] == [
        (MALLORY, "foreign"),
        (ADA, "foreign"),
    ]
    assert buttons(await people.question(TEAM)) == ["Approve", "Deny"]
    await people.tap(shown, "Deny", GRACE)
    assert (await talk.until_status(approval["id"], "decided"))["decision"]["option"] == "deny"
    assert await talk.responses() != []
    assert {response["user"]["id"] for response in await talk.responses()} == {GRACE}


async def test_a_tap_with_forged_data_is_answered_as_unknown(
    quick: Bridge, people: People, sandbox: Sandbox
) -> None:
    approval = await quick.ask()
    await people.question(ADA)
    for number, data in enumerate(("a:guess:0", "a:guess", "approve_task-1", "", "a::0", "a:x:²"), 1):
        update = {
            "update_id": 900 + number,
            "callback_query": {"id": str(number), "from": {"id": ADA, "first_name": "Ada"}, "data": data},
        }
        await _post_update(quick, update)
    await quick.until_metric('cctelegram_telegram_updates_total{kind="callback_query"}', 6.0)

    async def six() -> bool:
        return len(await people.calls("answerCallbackQuery")) == 6

    await until(six)
    assert (await quick.approval(approval["id"]))["answers"] == []


async def _post_update(bridge: Bridge, update: dict[str, object]) -> None:
    secret = BridgeSettings().bots()["default"].webhook_secret
    headers = {"X-Telegram-Bot-Api-Secret-Token": secret}
    answer = await bridge.client.post("/telegram/webhook", json=update, headers=headers)
    assert answer.status_code == 200


async def test_two_replicas_and_a_tap_race_and_exactly_one_decides(
    replicas: BridgeSettings, people: People
) -> None:
    async with bridge_of(replicas) as one, bridge_of(replicas) as two:
        await _race(one, two, people)


async def test_requests_and_a_tap_race_on_sqlite_and_exactly_one_decides(
    quick: Bridge, people: People
) -> None:
    await _race(quick, quick, people)


async def _race(one: Bridge, two: Bridge, people: People) -> None:
    for number in range(5):
        title = f"race {number}"
        approval = await one.ask(title=title)
        shown = await people.question(ADA, title)
        path = f"/api/v1/approvals/{approval['id']}/decide"
        answers = await asyncio.gather(
            people.tap(shown, "Approve"),
            *(one.client.post(path, json={"option": "approve", "by": f"one-{n}"}) for n in range(4)),
            *(two.client.post(path, json={"option": "deny", "by": f"two-{n}"}) for n in range(4)),
        )
        statuses = [answer.status_code for answer in answers if isinstance(answer, httpx.Response)]

        async def all_answered(approval_id: str = approval["id"]) -> bool:
            return len((await one.approval(approval_id))["answers"]) == 9

        await until(all_answered)
        found = await one.approval(approval["id"])
        won = [answer for answer in found["answers"] if answer["outcome"] == "decided"]
        assert len(won) == 1
        assert {answer["outcome"] for answer in found["answers"]} == {"decided", "late"}
        assert statuses.count(200) == (0 if won[0]["via"] == "tap" else 1)
        assert found["decision"]["option"] == won[0]["option"]


async def test_expiry_edits_the_message_and_is_final(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(expires_in=600)
        shown = await people.question(ADA)
        await people.sandbox.faults(
            {"kind": "answer", "status": 502, "methods": ["editMessageText"], "times": 1}
        )
        clock.advance(599)
        assert (await bridge.approval(approval["id"]))["status"] == "open"
        clock.advance(2)
        expired = await bridge.until_status(approval["id"], "expired")
        assert expired["decision"] is None
        await people.tap(shown, "Approve")
        await people.until_toast("Too late: this expired")
        clock.advance(5)
        assert buttons(await people.until_text(ADA, "⌛ Expired without an answer")) == []
        late = await bridge.client.post(
            f"/api/v1/approvals/{approval['id']}/decide", json={"option": "approve"}
        )
        assert late.status_code == 409
        assert late.json()["detail"] == "The approval is expired."
        assert (await bridge.approval(approval["id"]))["status"] == "expired"


async def test_a_tap_after_the_expiry_time_is_late_even_before_the_approval_is_closed(
    settings: BridgeSettings, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(expires_in=10)
        clock.advance(10)
        late = await bridge.client.post(
            f"/api/v1/approvals/{approval['id']}/decide", json={"option": "approve"}
        )
        assert late.status_code == 409


async def test_a_cancelled_approval_shows_that_and_accepts_no_answer(talk: Bridge, people: People) -> None:
    approval = await talk.ask()
    shown = await people.question(ADA)
    body = {"by": "ci", "reason": "superseded by 1.5"}
    cancelled = await talk.client.post(f"/api/v1/approvals/{approval['id']}/cancel", json=body)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (cancelled.json()["cancelled_by"], cancelled.json()["reason"]) == (
        "ci (API key default)",
        "superseded by 1.5",
    )
    edited = await people.until_text(ADA, "🚫 Cancelled, by ci (API key default)")
    assert edited["message_id"] == shown["message_id"]
    assert "superseded by 1.5" in text_of(edited)
    late = await talk.client.post(f"/api/v1/approvals/{approval['id']}/decide", json={"option": "approve"})
    assert late.status_code == 409


async def test_a_decision_through_the_api_is_audited_and_shown(talk: Bridge, people: People) -> None:
    approval = await talk.ask(options=[{"value": "go", "label": "Go ahead"}, "Stop"])
    await people.question(ADA)
    body = {"option": "Go ahead", "by": "release-bot", "comment": "all checks green"}
    decided = await talk.client.post(f"/api/v1/approvals/{approval['id']}/decide", json=body)
    assert decided.status_code == 200
    assert decided.json()["decision"] == {
        "option": "go",
        "label": "Go ahead",
        "text": None,
        "by": "release-bot (API key default)",
        "user_id": None,
        "via": "api",
        "comment": "all checks green",
    }
    assert decided.json()["answers"][0]["name"] == "release-bot (API key default)"
    edited = await people.until_text(ADA, "☑️ Decided: Go ahead, by release-bot (API key default)")
    assert "all checks green" in text_of(edited)
    again = await talk.client.post(f"/api/v1/approvals/{approval['id']}/decide", json=body)
    assert again.status_code == 409
    assert again.json()["approval"]["decision"]["by"] == "release-bot (API key default)"


async def test_an_unknown_option_is_refused_with_the_name_of_the_field(quick: Bridge) -> None:
    approval = await quick.ask()
    refused = await quick.client.post(f"/api/v1/approvals/{approval['id']}/decide", json={"option": "maybe"})
    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"loc": ["body", "option"], "msg": "the options are approve, deny"}]
    assert (await quick.approval(approval["id"]))["status"] == "open"


async def test_a_reply_with_the_number_of_an_option_decides(talk: Bridge, people: People) -> None:
    approval = await talk.ask(options=["Blue", "Green"])
    shown = await people.question(ADA)
    await people.say(ADA, "purple", reply_to=shown["message_id"])
    await people.until_text(ADA, "No such option. There are: 1 Blue, 2 Green")
    await people.say(ADA, "2", reply_to=shown["message_id"])
    decided = await talk.until_status(approval["id"], "decided")
    assert (decided["decision"]["option"], decided["decision"]["via"]) == ("Green", "reply")
    await people.until_text(ADA, "Noted. ☑️ Decided: Green, by Ada")


async def test_a_reply_with_the_label_of_an_option_decides(talk: Bridge, people: People) -> None:
    approval = await talk.ask(options=["Ship it", "Hold"])
    shown = await people.question(ADA)
    await people.say(ADA, " ship  IT ", reply_to=shown["message_id"])
    assert (await talk.until_status(approval["id"], "decided"))["decision"]["option"] == "Ship it"


async def test_the_approve_command_decides_by_code(talk: Bridge, people: People) -> None:
    approval = await talk.ask()
    await people.question(ADA)
    await people.say(ADA, "/approve")
    assert approval["code"] in text_of(await people.until_text(ADA, "Open questions"))
    await people.say(ADA, "/approve ZZZZZZ deny")
    await people.until_text(ADA, "No question has the code ZZZZZZ")
    await people.say(ADA, f"/approve {approval['code'].lower()} deny")
    decided = await talk.until_status(approval["id"], "decided")
    assert (decided["decision"]["option"], decided["decision"]["via"]) == ("deny", "command")
    await people.say(ADA, f"/approve {approval['code']} approve")
    await people.until_text(ADA, "Too late. ☑️ Decided: Deny, by Ada")


async def test_a_wait_ends_with_the_decision(talk: Bridge, people: People) -> None:
    approval = await talk.ask()
    shown = await people.question(ADA)
    waiting = asyncio.create_task(talk.approval(approval["id"], wait=55))
    await talk.until_waiting()
    assert not waiting.done()
    await people.tap(shown, "Deny")
    assert (await before_the_wait_ends(waiting))["decision"]["option"] == "deny"


async def test_a_wait_ends_when_its_key_is_revoked(talk: Bridge) -> None:
    approval = await talk.ask()
    made = await talk.client.post("/api/v1/keys", json={"name": "waiter", "scopes": ["approvals:read"]})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    for path in (f"/api/v1/approvals/{approval['id']}", "/api/v1/responses"):
        waiting = asyncio.create_task(talk.client.get(path, params={"wait": 55}, headers=headers))
        await talk.until_waiting()
        await talk.client.delete(f"/api/v1/keys/{made.json()['id']}")
        refused = await waiting
        assert (refused.status_code, refused.json()["detail"]) == (401, "This key is no longer valid.")
        made = await talk.client.post("/api/v1/keys", json={"name": "waiter", "scopes": ["approvals:read"]})
        headers = {"Authorization": f"Bearer {made.json()['secret']}"}


async def test_a_wait_without_a_decision_ends_after_the_given_time(quick: Bridge) -> None:
    approval = await quick.ask()
    started = time.monotonic()
    waited = await before_the_wait_ends(quick.approval(approval["id"], wait=0.5))
    assert waited["status"] == "open"
    assert time.monotonic() - started >= 0.4
    refused = await quick.client.get(f"/api/v1/approvals/{approval['id']}", params={"wait": 56})
    assert refused.status_code == 422


async def test_an_answer_at_another_replica_ends_the_wait(replicas: BridgeSettings) -> None:
    async with bridge_of(replicas) as one, bridge_of(replicas) as two:
        approval = await one.ask()
        waiting = asyncio.create_task(two.approval(approval["id"], wait=55))
        await two.until_waiting()
        await one.client.post(f"/api/v1/approvals/{approval['id']}/decide", json={"option": "approve"})
        assert (await before_the_wait_ends(waiting))["status"] == "decided"


async def test_a_wait_ends_when_its_client_disconnects(quick: Bridge) -> None:
    """A client with a timeout shorter than `wait` must not leave a waiting task behind."""
    approval = await quick.ask()
    handled = 'http_requests_total{handler="waiting",method="GET",status="2xx"}'
    with pytest.raises(httpx.ReadTimeout):
        await quick.client.get(f"/api/v1/approvals/{approval['id']}", params={"wait": 55}, timeout=0.5)
    await quick.until_metric(handled, 1.0)


async def test_a_wait_and_a_poll_end_at_once_when_the_bridge_stops(settings: BridgeSettings) -> None:
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask()
        waiting = asyncio.create_task(bridge.approval(approval["id"], wait=55))
        await bridge.until_waiting()
        bridge.stop.set()
        assert (await before_the_wait_ends(waiting))["status"] == "open"
