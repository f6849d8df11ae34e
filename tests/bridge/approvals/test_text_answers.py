"""Questions that people answer with a text in their own words."""

from typing import Any

import httpx
import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.approvals.test_reminders import until_delivered, until_shown
from tests.bridge.people import ADA, GRACE, TEAM, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock

HOW = "Reply with a text of at most"


async def test_a_reply_is_the_answer(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=TEAM, answer="text", max_length=20)
    assert (asked["answer"], asked["max_length"], asked["options"]) == ("text", 20, [])
    question = await people.until_text(TEAM, f"{HOW} 20 characters, or send /approve {asked['code']} TEXT")
    assert buttons(question) == []
    await until_delivered(talk, asked["id"], 1)
    await people.say(TEAM, "x" * 21, reply_to=question["message_id"], person=ADA)
    await people.until_text(TEAM, "Not taken: write 1 to 20 characters.")
    await people.say(TEAM, "it was\nblocked", reply_to=question["message_id"], person=ADA)
    closed = await talk.until_status(asked["id"], "decided")
    decision = closed["decision"]
    assert (decision["option"], decision["label"], decision["text"]) == (None, None, "it was\nblocked")
    assert (decision["user_id"], decision["via"]) == (ADA, "reply")
    assert [(one["outcome"], one["text"]) for one in closed["answers"]] == [
        ("invalid_text", "x" * 21),
        ("decided", "it was\nblocked"),
    ]
    shown = await people.until_text(TEAM, "git push production\n\n☑️ Answered: it was blocked, by Ada")
    assert HOW not in text_of(shown)


async def test_the_next_message_of_a_private_chat_is_the_answer_to_its_only_question(
    talk: Bridge, people: People
) -> None:
    asked = await talk.ask(chat_id=[ADA, TEAM], answer="text")
    await until_delivered(talk, asked["id"], 2)
    await people.say(TEAM, "not an answer: a group", person=ADA)
    await people.say(ADA, "blocked")
    closed = await talk.until_status(asked["id"], "decided")
    assert closed["decision"]["text"] == "blocked"
    assert len(closed["answers"]) == 1
    found = await talk.responses()
    assert [(one["text"], one["outcome"]) for one in found] == [
        ("not an answer: a group", None),
        ("blocked", "decided"),
    ]
    assert found[1]["in_reply_to"]["approval_id"] == asked["id"]


async def test_the_next_message_answers_nothing_while_several_questions_are_open(
    talk: Bridge, people: People
) -> None:
    both = [await talk.ask(title=title, chat_id=ADA, answer="text") for title in ("Why?", "When?")]
    for one in both:
        await until_delivered(talk, one["id"], 1)
    await people.say(ADA, "at noon")
    await people.until_text(ADA, "2 questions wait for a text here: reply to the one that you answer.")
    question = await people.until_text(ADA, "When?")
    await people.say(ADA, "at noon", reply_to=question["message_id"])
    closed = await talk.until_status(both[1]["id"], "decided")
    assert closed["decision"]["text"] == "at noon"
    assert (await talk.approval(both[0]["id"]))["answers"] == []


async def test_a_message_of_a_person_who_may_not_decide_is_no_answer(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=ADA, approvers=[GRACE], answer="text")
    await until_delivered(talk, asked["id"], 1)
    await people.say(ADA, "hello")
    await people.say(ADA, f"/approve {asked['code']} my answer")
    await talk.until_answered(asked["id"], "foreign")
    found = await talk.approval(asked["id"])
    assert (found["status"], len(found["answers"])) == ("open", 1)


async def test_the_command_takes_the_whole_text(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=TEAM, answer="text")
    await until_delivered(talk, asked["id"], 1)
    await people.say(GRACE, "/approve")
    await people.until_text(GRACE, "a text in your own words")
    await people.say(GRACE, f"/approve {asked['code']} Two lines\nof TEXT")
    closed = await talk.until_status(asked["id"], "decided")
    assert (closed["decision"]["text"], closed["decision"]["via"]) == ("Two lines\nof TEXT", "command")


async def test_a_reply_to_a_reminder_is_the_answer(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(chat_id=ADA, answer="text", remind_every="10m", remind_times=1)
        await until_delivered(bridge, asked["id"], 1)
        clock.advance(601)
        (again,) = await until_shown(people, ADA, "Not answered yet: Deploy 1.4?", 1)
        await until_delivered(bridge, asked["id"], 2)
        await people.say(ADA, "later", reply_to=again["message_id"])
        await bridge.until_status(asked["id"], "decided")
        await until_shown(people, ADA, "Answered: later, by Ada", 2)
        late = await people.until_text(ADA, "Answered: later")
        await people.say(ADA, "now", reply_to=late["message_id"])
        await bridge.until_answered(asked["id"], "late")


async def test_a_question_for_a_text_expires_and_is_cancelled(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        expiring = await bridge.ask(title="Why?", chat_id=ADA, answer="text", expires_in=60)
        other = await bridge.ask(title="When?", chat_id=ADA, answer="text")
        await until_delivered(bridge, expiring["id"], 1)
        await until_delivered(bridge, other["id"], 1)
        clock.advance(61)
        closed = await bridge.until_status(expiring["id"], "expired")
        assert closed["decision"] is None
        await people.until_text(ADA, "⌛ Expired without an answer")
        await bridge.client.post(f"/api/v1/approvals/{other['id']}/cancel", json={"reason": "known now"})
        await people.until_text(ADA, "🚫 Cancelled")


async def test_an_api_key_answers_with_a_text(quick: Bridge) -> None:
    asked = await quick.ask(chat_id=ADA, answer="text", max_length=10)
    path = f"/api/v1/approvals/{asked['id']}/decide"

    async def refused(**body: Any) -> list[Any]:
        answer: httpx.Response = await quick.client.post(path, json=body)
        assert answer.status_code == 422, answer.text
        return [entry["loc"] for entry in answer.json()["errors"]]

    assert await refused(option="approve") == [["body", "text"]]
    assert await refused(text="x" * 11) == [["body", "text"]]
    assert await refused(text="\u200b") == [["body", "text"]]
    assert await refused() == [["body"]]
    assert await refused(text="x", option="y") == [["body"]]
    answer = await quick.client.post(path, json={"text": "x" * 10, "by": "Ada"})
    assert answer.json()["decision"]["text"] == "x" * 10
    by_option = await quick.ask(chat_id=ADA)
    path = f"/api/v1/approvals/{by_option['id']}/decide"
    assert await refused(text="approve") == [["body", "option"]]


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"answer": "text", "options": ["Yes"]}, ["body"]),
        ({"answer": "text", "needed": 2}, ["body"]),
        ({"max_length": 10}, ["body"]),
        ({"answer": "text", "max_length": 0}, ["body", "max_length"]),
        ({"answer": "text", "max_length": 4_001}, ["body", "max_length"]),
        ({"answer": "voice"}, ["body", "answer"]),
    ],
)
async def test_fields_that_do_not_fit_together_are_refused(
    quick: Bridge, fields: dict[str, Any], loc: list[Any]
) -> None:
    answer = await quick.client.post("/api/v1/approvals", json={"title": "?", "prompt": "?", **fields})
    assert answer.status_code == 422
    assert [entry["loc"] for entry in answer.json()["errors"]] == [loc]
