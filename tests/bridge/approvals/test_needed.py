"""Questions whose first option needs the answers of several people."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from services.bridge.approvals import decisions, queries, question_text, store
from services.bridge.approvals.approval import Actor, AnswerOutcome, AnswerVia, Given
from services.bridge.approvals.decisions import ApprovalChange
from services.bridge.bot_messages import Recipient
from services.bridge.settings import BridgeSettings
from services.kit.database.connect import Database
from tests.bridge.approvals.test_decision_edges import tables
from tests.bridge.approvals.test_question_text import NOW, QUESTION
from tests.bridge.approvals.test_reminders import until_delivered, until_shown
from tests.bridge.people import ADA, GRACE, TEAM, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock, until

__all__ = ["tables"]
NEEDS_TWO = "“Approve” needs 2 people"


async def test_two_people_must_choose_the_first_option(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=[ADA, GRACE], needed=2)
    assert (asked["needed"], asked["approved_by"]) == (2, [])
    await until_delivered(talk, asked["id"], 2)
    hers = await people.question(ADA)
    assert f"{NEEDS_TWO}." in text_of(hers)
    await people.tap(hers, "Approve")
    await people.until_toast(f"Counted. {NEEDS_TWO}; so far 1: Ada")
    for chat_id in (ADA, GRACE):
        shown = await people.until_text(chat_id, f"{NEEDS_TWO}; so far 1: Ada")
        assert buttons(shown) == ["Approve", "Deny"]
        assert text_of(shown).startswith("🙋 Deploy 1.4?\n\ngit push production\n\n“Approve”")
    waiting = await talk.approval(asked["id"])
    assert waiting["status"] == "open"
    assert [(one["user_id"], one["via"]) for one in waiting["approved_by"]] == [(ADA, "tap")]
    await people.say(GRACE, "1", reply_to=(await people.question(GRACE))["message_id"])
    decided = await talk.until_status(asked["id"], "decided")
    assert [one["user_id"] for one in decided["approved_by"]] == [ADA, GRACE]
    assert decided["decision"]["option"] == "approve"
    assert [(one["user_id"], one["outcome"]) for one in decided["answers"]] == [
        (ADA, "counted"),
        (GRACE, "decided"),
    ]
    names = ", ".join(one["name"] for one in decided["approved_by"])
    for chat_id in (ADA, GRACE):
        closed = await people.until_text(chat_id, f"☑️ Decided: Approve, by {names}")
        assert buttons(closed) == []
        assert "needs 2 people" not in text_of(closed)


async def test_a_person_counts_once(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=TEAM, needed=2)
    shown = await people.question(TEAM)
    for _ in range(2):
        await people.tap(shown, "Approve", ADA)

    async def both() -> bool:
        return len((await talk.approval(asked["id"]))["answers"]) == 2

    await until(both)
    found = await talk.approval(asked["id"])
    assert found["status"] == "open"
    assert [one["outcome"] for one in found["answers"]] == ["counted", "counted"]
    assert len(found["approved_by"]) == 1


async def test_any_other_option_decides_at_once_also_of_a_person_who_approved(
    talk: Bridge, people: People
) -> None:
    asked = await talk.ask(chat_id=TEAM, needed=2)
    shown = await people.question(TEAM)
    await people.tap(shown, "Approve", ADA)
    await talk.until_answered(asked["id"], "counted")
    await people.tap(shown, "Deny", ADA)
    closed = await talk.until_status(asked["id"], "decided")
    assert (closed["decision"]["option"], closed["decision"]["user_id"]) == ("deny", ADA)
    name = closed["decision"]["by"]
    await people.until_text(TEAM, f"☑️ Decided: Deny, by {name}, ")


async def test_an_api_key_is_one_person_whatever_name_it_gives(quick: Bridge) -> None:
    asked = await quick.ask(chat_id=ADA, needed=2)
    for by in ("Ada", "Grace"):
        path = f"/api/v1/approvals/{asked['id']}/decide"
        answer = await quick.client.post(path, json={"option": "approve", "by": by})
        assert answer.status_code == 200
        assert answer.json()["status"] == "open"
        assert len(answer.json()["approved_by"]) == 1


async def test_reminders_show_who_has_answered_and_are_edited(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(chat_id=TEAM, needed=2, remind_every="10m", remind_times=1)
        await until_delivered(bridge, asked["id"], 1)
        await people.tap(await people.question(TEAM), "Approve", ADA)
        await people.until_text(TEAM, "so far 1: Ada")
        clock.advance(601)
        (again,) = await until_shown(people, TEAM, "Not decided yet: Deploy 1.4?", 1)
        assert "so far 1: Ada" in text_of(again)
        await people.tap(again, "Approve", GRACE)
        await bridge.until_status(asked["id"], "decided")
        await until_shown(people, TEAM, "Decided: Approve", 2)


async def test_of_concurrent_votes_none_is_lost(tables: Database) -> None:
    needed = 5
    approvers = tuple(range(1, 9))
    three = replace(QUESTION, needed=needed, approvers=approvers)

    def ask(connection: Connection) -> None:
        store.create(connection, three, question_text.question(three), [Recipient(ADA)], NOW)

    await tables.write("approval_ask", ask)

    def answer(connection: Connection, who: int) -> ApprovalChange:
        approval = store.by_id(connection, three.id)
        assert approval is not None
        actor = Actor(f"Person {who}", who)
        return decisions.answer(connection, approval, actor, AnswerVia.TAP, Given(0), now=NOW + 1)

    came = await asyncio.gather(
        *(tables.write("approval_answer", partial(answer, who=who)) for who in approvers)
    )
    outcomes = [change.outcome for change in came]
    assert outcomes.count(AnswerOutcome.DECIDED) == 1
    assert outcomes.count(AnswerOutcome.COUNTED) == needed - 1
    assert outcomes.count(AnswerOutcome.LATE) == len(approvers) - needed
    found = await tables.read("read", partial(queries.details, approval_id=three.id))
    assert found is not None
    assert len({vote.by.user_id for vote in found.approval.votes}) == needed
    await tables.close()


@pytest.mark.parametrize("needed", [0, 3, True, "x"])
async def test_a_number_that_the_approvers_cannot_reach_is_refused(quick: Bridge, needed: Any) -> None:
    body = {"title": "?", "prompt": "?", "needed": needed}
    answer = await quick.client.post("/api/v1/approvals", json=body)
    assert answer.status_code == 422
    assert [entry["loc"] for entry in answer.json()["errors"]] == [["body", "needed"]]


async def test_a_refused_number_names_the_largest_one_and_where_the_people_are_set(quick: Bridge) -> None:
    answer = await quick.client.post("/api/v1/approvals", json={"title": "?", "prompt": "?", "needed": 3})
    (error,) = answer.json()["errors"]
    assert error["msg"] == "write at most 2: so many people may decide (approvers, or TELEGRAM_ALLOWED_USERS)"
