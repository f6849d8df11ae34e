"""Questions without an answer are repeated, and escalated to other people."""

from typing import Any

import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, MALLORY, Bridge, People, bridge_of, buttons, text_of
from tests.servers import ManualClock, until


async def until_shown(people: People, chat_id: int, part: str, number: int) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found = [m for m in await people.messages(chat_id) if part in text_of(m)]
        return found if len(found) == number else None

    found = await until(look)
    assert found is not None
    return found


async def until_delivered(bridge: Bridge, approval_id: str, number: int) -> None:
    async def look() -> bool:
        shown = (await bridge.approval(approval_id))["messages"]
        return [one["status"] for one in shown] == ["delivered"] * number

    await until(look)


async def test_a_question_is_asked_again_so_often(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(chat_id=ADA, remind_every="10m", remind_times=2)
        await until_delivered(bridge, asked["id"], 1)
        for number in (1, 2):
            assert await people.messages(ADA)
            clock.advance(601)
            await until_shown(people, ADA, "Not answered yet: Deploy 1.4?", number)
            await until_delivered(bridge, asked["id"], number + 1)
        clock.advance(6_000)
        await bridge.post(chat_id=ADA, title="afterwards")
        await people.until_text(ADA, "afterwards")
        (first, second) = await until_shown(people, ADA, "Not answered yet", 2)
        assert first["reply_to_message"]["message_id"] == second["reply_to_message"]["message_id"]
        await people.tap(second, "Approve")
        closed = await bridge.until_status(asked["id"], "decided")
        assert closed["decision"]["user_id"] == ADA
        await until_shown(people, ADA, "Decided: Approve", 3)


async def test_an_answered_question_is_not_asked_again(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(
            chat_id=ADA, remind_every=60, escalate_after="1m", escalate_to=[GRACE], approvers=[ADA]
        )
        await until_delivered(bridge, asked["id"], 1)
        await bridge.decide(asked["id"])
        clock.advance(3_600)
        await bridge.post(chat_id=[ADA, GRACE], title="afterwards")
        for person in (ADA, GRACE):
            await people.until_text(person, "afterwards")
            assert not [m for m in await people.messages(person) if "Not answered" in text_of(m)]
        assert [one["kind"] for one in (await bridge.approval(asked["id"]))["messages"]] == [
            "question",
            "verdict",
        ]


async def test_a_question_is_escalated_to_people_who_may_decide_then(
    settings: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(chat_id=ADA, approvers=[ADA], escalate_after="30m", escalate_to=[GRACE])
        await until_delivered(bridge, asked["id"], 1)
        assert asked["approvers"] == [ADA]
        clock.advance(1_801)
        question = await people.question(GRACE)
        assert buttons(question) == ["Approve", "Deny"]
        assert (await bridge.approval(asked["id"]))["approvers"] == [ADA, GRACE]
        await people.tap(question, "Deny")
        closed = await bridge.until_status(asked["id"], "decided")
        assert closed["decision"]["user_id"] == GRACE
        await people.until_text(ADA, "Decided: Deny")


async def test_of_two_replicas_one_reminds(
    replicas: BridgeSettings, people: People, clock: ManualClock
) -> None:
    async with bridge_of(replicas, clock) as one, bridge_of(replicas, clock) as other:
        asked = await one.ask(chat_id=ADA, remind_every="1m", remind_times=1)
        await until_delivered(one, asked["id"], 1)
        clock.advance(61)
        await until_delivered(other, asked["id"], 2)
        await other.post(chat_id=ADA, title="afterwards")
        await people.until_text(ADA, "afterwards")
        await until_shown(people, ADA, "Not answered yet", 1)


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"remind_every": "1s"}, ["body", "remind_every"]),
        ({"remind_times": 2}, ["body"]),
        ({"remind_every": "1m", "remind_times": 0}, ["body", "remind_times"]),
        ({"escalate_after": "1m"}, ["body"]),
        ({"escalate_to": [GRACE]}, ["body"]),
        ({"escalate_after": "1m", "escalate_to": []}, ["body", "escalate_to"]),
        ({"escalate_after": "1m", "escalate_to": [GRACE, MALLORY]}, ["body", "escalate_to", 1]),
    ],
)
async def test_a_plan_that_cannot_be_kept_is_refused(
    quick: Bridge, fields: dict[str, Any], loc: list[Any]
) -> None:
    answer = await quick.client.post("/api/v1/approvals", json={"title": "?", "prompt": "?", **fields})
    assert answer.status_code == 422
    assert [entry["loc"] for entry in answer.json()["errors"]] == [loc]
