"""Edge cases of answers: concurrent, late, from strangers, to cancelled and to long questions."""

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, update

from services.bridge import inbound
from services.bridge.approvals import decisions, expiry, queries, question_text, reask, store
from services.bridge.approvals.approval import Actor, AnswerOutcome, AnswerVia, Given
from services.bridge.approvals.decisions import ApprovalChange
from services.bridge.bot_messages import Recipient
from services.bridge.settings import BridgeSettings
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import MessageState
from services.outbox.schema import message
from tests.bridge.approvals.test_question_text import QUESTION
from tests.bridge.people import ADA, GRACE, MALLORY, TEAM, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock, until

LONG = "".join(f"line {number}: äöü 😀\n" for number in range(600))


def tapped(number: int, person: int, data: str, message: dict[str, Any]) -> dict[str, Any]:
    """The update of a tap, as Telegram posts it to a webhook."""
    return {
        "update_id": number,
        "callback_query": {
            "id": str(number),
            "from": {"id": person, "first_name": {ADA: "Ada", GRACE: "Grace"}.get(person, "Mallory")},
            "data": data,
            "message": {"message_id": message["message_id"], "chat": message["chat"]},
        },
    }


async def post_update(bridge: Bridge, update: dict[str, Any], settings: BridgeSettings) -> None:
    headers = {"X-Telegram-Bot-Api-Secret-Token": settings.bots()["default"].webhook_secret}
    answer = await bridge.client.post("/telegram/webhook", json=update, headers=headers)
    assert answer.status_code == 200


async def until_answers(bridge: Bridge, approval_id: str, number: int) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = (await bridge.approval(approval_id))["answers"]
        return found if len(found) >= number else None

    found = await until(look)
    assert found is not None
    return found


async def test_of_taps_at_two_replicas_at_the_same_time_one_decides_and_both_are_answered(
    replicas: BridgeSettings, people: People
) -> None:
    async with bridge_of(replicas) as one, bridge_of(replicas) as two:
        for number in range(5):
            title = f"both {number}"
            approval = await one.ask(title=title, chat_id=TEAM)
            shown = await people.question(TEAM, title)
            yes, no = (row["callback_data"] for row in shown["reply_markup"]["inline_keyboard"][0])
            await asyncio.gather(
                post_update(one, tapped(10_000 + number, ADA, yes, shown), replicas),
                post_update(two, tapped(20_000 + number, GRACE, no, shown), replicas),
            )
            found = await until_answers(one, approval["id"], 2)
            assert sorted(answer["outcome"] for answer in found) == ["decided", "late"]
            won = next(answer for answer in found if answer["outcome"] == "decided")
            decision = (await two.approval(approval["id"]))["decision"]
            assert (decision["option"], decision["user_id"]) == (won["option"], won["user_id"])

            async def edited(title: str = title, name: str = won["name"]) -> dict[str, Any] | None:
                shown = [m for m in await people.messages(TEAM) if title in text_of(m)]
                return next((m for m in shown if f"by {name}" in text_of(m)), None)

            assert buttons(await until(edited)) == []


async def test_the_same_tap_at_two_replicas_is_one_answer(replicas: BridgeSettings, people: People) -> None:
    async with bridge_of(replicas) as one, bridge_of(replicas) as two:
        approval = await one.ask()
        shown = await people.question(ADA)
        data = shown["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        update = tapped(10_000, ADA, data, shown)
        await asyncio.gather(post_update(one, update, replicas), post_update(two, update, replicas))
        await one.until_status(approval["id"], "decided")
        other = await one.ask(title="After it?")
        after = await people.question(ADA, "After it?")
        await people.tap(after, "Deny")
        await two.until_status(other["id"], "decided")
        assert [answer["outcome"] for answer in (await one.approval(approval["id"]))["answers"]] == [
            "decided"
        ]


@pytest.fixture
async def tables(database_url: str) -> Database:
    telemetry = Telemetry("tests", ServiceSettings())
    return await open_database(database_url, telemetry, packages=["services.outbox", *inbound.PACKAGES])


async def test_of_concurrent_transactions_with_answers_one_closes_the_approval(
    tables: Database, clock: ManualClock
) -> None:
    """Two replicas that both act as the leader would do this: the compare-and-set decides."""
    clock.now = QUESTION.created_at + 5
    await tables.write("approval_ask", partial(_ask, now=clock.now))

    def answer(connection: Connection, who: int, chosen: int) -> ApprovalChange:
        approval = store.by_id(connection, QUESTION.id)
        assert approval is not None
        return decisions.answer(
            connection, approval, Actor(str(who), who), AnswerVia.TAP, Given(chosen), now=clock.now
        )

    came = await asyncio.gather(
        *(
            tables.write("approval_answer", partial(answer, who=who, chosen=number % 2))
            for number, who in enumerate([1001, 1002] * 4)
        )
    )
    assert sorted(change.outcome for change in came) == [AnswerOutcome.DECIDED, *[AnswerOutcome.LATE] * 7]
    assert [change.closed_now for change in came].count(True) == 1
    whole = await tables.read("read", partial(queries.details, approval_id=QUESTION.id))
    assert whole is not None
    won = next(change for change in came if change.closed_now).approval
    assert (whole.approval.chosen, whole.approval.closed_by) == (won.chosen, won.closed_by)
    assert [row["outcome"] for row in whole.answers].count("decided") == 1
    assert len([row for row in whole.messages if row["kind"] == "verdict"]) == 1
    await tables.close()


def _ask(connection: Connection, now: float) -> None:
    store.create(connection, QUESTION, question_text.question(QUESTION), [Recipient(ADA)], now)


async def test_a_concurrent_answer_and_expiry_close_an_approval_once(tables: Database) -> None:
    before, after = QUESTION.expires_at - 0.001, QUESTION.expires_at
    await tables.write("approval_ask", partial(_ask, now=QUESTION.created_at))

    def answer(connection: Connection) -> bool:
        approval = store.by_id(connection, QUESTION.id)
        assert approval is not None
        return decisions.answer(
            connection, approval, Actor("Ada", ADA), AnswerVia.TAP, Given(0), now=before
        ).closed_now

    def expire(connection: Connection) -> bool:
        return bool(expiry.expire(connection, after))

    closed = await asyncio.gather(
        *(tables.write("approval_expire", expire) for _ in range(3)),
        *(tables.write("approval_answer", answer) for _ in range(3)),
    )
    assert closed.count(True) == 1
    await tables.close()


async def test_a_tap_on_a_cancelled_question_gets_a_toast_that_says_so(talk: Bridge, people: People) -> None:
    """The edit that removes the buttons is delayed."""
    approval = await talk.ask()
    shown = await people.question(ADA)
    broken = {"kind": "answer", "status": 502, "methods": ["editMessageText"], "times": 2}
    await people.sandbox.faults(broken)
    body = {"by": "ci", "reason": "superseded"}
    await talk.client.post(f"/api/v1/approvals/{approval['id']}/cancel", json=body)
    await people.tap(shown, "Approve")
    assert "superseded" in await people.until_toast("Too late")
    found = await until_answers(talk, approval["id"], 1)
    assert [(answer["option"], answer["outcome"]) for answer in found] == [("approve", "cancelled")]
    assert (await talk.approval(approval["id"]))["status"] == "cancelled"
    edited = await people.until_text(ADA, "🚫 Cancelled, by ci")
    assert (edited["message_id"], buttons(edited)) == (shown["message_id"], [])


async def test_of_a_concurrent_tap_and_cancellation_one_closes_the_approval(
    talk: Bridge, people: People
) -> None:
    for number in range(4):
        title = f"either {number}"
        approval = await talk.ask(title=title)
        shown = await people.question(ADA, title)
        cancelled, _ = await asyncio.gather(
            talk.client.post(f"/api/v1/approvals/{approval['id']}/cancel"), people.tap(shown, "Approve")
        )
        (answer,) = await until_answers(talk, approval["id"], 1)
        found = await talk.approval(approval["id"])
        if cancelled.status_code == 200:
            assert (found["status"], answer["outcome"], found["decision"]) == ("cancelled", "cancelled", None)
        else:
            assert (cancelled.status_code, found["status"], answer["outcome"]) == (409, "decided", "decided")
        assert [message["kind"] for message in found["messages"]].count("verdict") == 1


async def test_a_question_that_is_cancelled_before_it_is_sent_shows_no_buttons(
    talk: Bridge, people: People
) -> None:
    busy = {"description": "Too Many Requests: retry after 1", "parameters": {"retry_after": 1}}
    await people.sandbox.faults({"kind": "answer", "status": 429, "times": None} | busy)
    approval = await talk.ask()
    await talk.client.post(f"/api/v1/approvals/{approval['id']}/cancel")
    await people.sandbox.no_faults()
    (question,) = [m for m in approval["messages"] if m["kind"] == "question"]
    ended = await talk.until_message_finished(question["message_id"])
    # Its first attempt was under way or not: in both cases it must not keep its buttons.
    assert ended["status"] in {"cancelled", "delivered"}

    async def no_buttons() -> bool:
        verdicts = [m for m in (await talk.approval(approval["id"]))["messages"] if m["kind"] == "verdict"]
        done = all([(await talk.message(m["message_id"]))["finished_at"] for m in verdicts])
        return done and not any(buttons(message) for message in await people.messages(ADA))

    await until(no_buttons)


async def test_a_person_who_is_no_approver_cannot_decide_by_tap_reply_or_command(
    talk: Bridge, people: People
) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    approval = await talk.ask(chat_id=TEAM, approvers=[GRACE])
    shown = await people.question(TEAM)
    await people.tap(shown, "Approve", MALLORY)
    await people.say(TEAM, "approve", reply_to=shown["message_id"], person=MALLORY)
    # Ada may use the bot, but is no approver of this approval.
    await people.say(TEAM, f"/approve {approval['code']} approve", person=ADA)
    found = await until_answers(talk, approval["id"], 3)
    assert [(answer["via"], answer["user_id"], answer["outcome"]) for answer in found] == [
        ("tap", MALLORY, "foreign"),
        ("reply", MALLORY, "foreign"),
        ("command", ADA, "foreign"),
    ]
    assert (await talk.approval(approval["id"]))["status"] == "open"
    assert buttons(await people.question(TEAM)) == ["Approve", "Deny"]
    # A command of a stranger is not run.
    await people.say(TEAM, f"/approve {approval['code']} approve", person=MALLORY)
    await people.tap(shown, "Deny", GRACE)
    decided = await talk.until_status(approval["id"], "decided")
    assert len(decided["answers"]) == 4


async def test_an_approver_who_is_no_longer_allowed_cannot_decide(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        approval = await bridge.ask(chat_id=TEAM)
        shown = await people.question(TEAM)
    without = settings.model_copy(update={"telegram_allowed_users": [ADA]})
    async with bridge_of(without) as bridge:
        await people.tap(shown, "Approve", GRACE)
        await people.until_toast("You may not decide this")
        await people.say(TEAM, "approve", reply_to=shown["message_id"], person=GRACE)
        found = await until_answers(bridge, approval["id"], 2)
        assert [answer["outcome"] for answer in found] == ["foreign", "foreign"]
        await people.tap(shown, "Deny", ADA)
        assert (await bridge.until_status(approval["id"], "decided"))["decision"]["user_id"] == ADA


async def test_a_tap_of_a_stranger_on_a_closed_question_is_foreign_and_not_late(
    talk: Bridge, people: People
) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    broken = {"kind": "answer", "status": 502, "methods": ["editMessageText"], "times": None}
    await people.sandbox.faults(broken)
    approval = await talk.ask(chat_id=TEAM)
    shown = await people.question(TEAM)
    await people.tap(shown, "Approve", ADA)
    await talk.until_status(approval["id"], "decided")
    await people.tap(shown, "Deny", MALLORY)
    await people.until_toast("You may not decide this")
    found = await until_answers(talk, approval["id"], 2)
    assert [answer["outcome"] for answer in found] == ["decided", "foreign"]


async def test_a_late_reply_is_answered_with_the_decision(talk: Bridge, people: People) -> None:
    approval = await talk.ask(chat_id=[ADA, GRACE])
    shown = await people.question(GRACE)
    await people.tap(await people.question(ADA), "Approve")
    await talk.until_status(approval["id"], "decided")
    await people.say(GRACE, "deny", reply_to=shown["message_id"])
    assert "☑️ Decided: Approve, by Ada" in text_of(await people.until_text(GRACE, "Too late"))
    late = (await until_answers(talk, approval["id"], 2))[1]
    assert (late["via"], late["name"].split()[0], late["outcome"]) == ("reply", "Grace", "late")


async def test_a_tap_that_names_no_option_is_answered_and_decides_nothing(
    talk: Bridge, people: People, settings: BridgeSettings
) -> None:
    approval = await talk.ask()
    shown = await people.question(ADA)
    token = shown["reply_markup"]["inline_keyboard"][0][0]["callback_data"].rpartition(":")[0]
    await post_update(talk, tapped(10_000, ADA, f"{token}:7", shown), settings)
    (answer,) = await until_answers(talk, approval["id"], 1)
    assert (answer["option"], answer["outcome"]) == (None, "no_such_option")
    await people.tap(shown, "Deny")
    assert (await talk.until_status(approval["id"], "decided"))["decision"]["option"] == "deny"
    # The data is forged, so the buttons of the question stay.
    assert await people.calls("editMessageReplyMarkup") == []


async def test_the_verdict_of_a_long_question_replaces_its_message_and_not_its_file(
    talk: Bridge, people: People
) -> None:
    approval = await talk.ask(prompt=LONG, chat_id=[ADA, GRACE])
    await people.question(GRACE)
    await people.tap(await people.question(ADA), "Approve")
    await talk.until_status(approval["id"], "decided")
    for chat_id in (ADA, GRACE):
        edited = await people.until_text(chat_id, "☑️ Decided: Approve, by Ada")
        assert f"approval-{approval['code']}.txt" in text_of(edited)
        document, message = await people.messages(chat_id)
        assert ("document" in document, message["message_id"]) == (True, edited["message_id"])


async def test_after_an_outage_a_long_question_is_repeated_without_its_file(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(prompt=LONG)
        shown = await people.question(ADA)
        await bridge.until_heard()
    await people.sandbox.post("/clock/advance", {"seconds": 300})
    clock.advance(300)
    async with bridge_of(settings, clock) as bridge:
        again = await people.question(ADA, "Still open: Deploy 1.4?")
        assert again["reply_to_message"]["message_id"] == shown["message_id"]
        assert len([m for m in await people.messages(ADA) if "document" in m]) == 1
        await people.tap(again, "Deny")
        await bridge.until_status(approval["id"], "decided")


async def test_a_tap_on_the_first_message_counts_after_the_question_was_repeated(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask()
        shown = await people.question(ADA)
        await bridge.until_heard()
    await people.sandbox.post("/clock/advance", {"seconds": 200})
    clock.advance(200)
    async with bridge_of(settings, clock) as bridge:
        await people.question(ADA, "Still open")
        await people.tap(shown, "Approve")
        decided = await bridge.until_status(approval["id"], "decided")
        assert decided["decision"]["option"] == "approve"
        assert {message["kind"] for message in decided["messages"]} == {"question", "again", "verdict"}

        async def no_buttons() -> bool:
            return not any(buttons(message) for message in await people.messages(ADA))

        await until(no_buttons)


async def test_a_question_that_expired_in_the_outage_is_not_repeated(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(settings, clock) as bridge:
        approval = await bridge.ask(expires_in=100)
        await people.question(ADA)
        await bridge.until_heard()
    await people.sandbox.post("/clock/advance", {"seconds": 200})
    clock.advance(200)
    async with bridge_of(settings, clock) as bridge:
        await bridge.until_status(approval["id"], "expired")
        await people.until_text(ADA, "⌛ Expired without an answer")
        await bridge.until_heard()
    assert not any("Still open" in text_of(message) for message in await people.messages(ADA))


async def test_only_the_bot_with_the_outage_repeats_its_questions(tables: Database) -> None:
    """Taps on the questions of other bots were not lost."""
    now = QUESTION.created_at
    await tables.write("approval_ask", partial(_ask, now=now))
    shown = update(message).values(
        state=MessageState.DELIVERED.value, finished_at=now, telegram_message_ids="5"
    )
    await tables.write("settle", lambda connection: connection.execute(shown).rowcount)

    def again(connection: Connection, bot: str) -> int:
        return len(reask.repeat_open(connection, bot, now, now + 200))

    assert await tables.write("update_heard", partial(again, bot="alerts")) == 0
    assert await tables.write("update_heard", partial(again, bot="default")) == 1
    await tables.close()
