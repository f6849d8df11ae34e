"""A question that reaches nobody says so at once and stays open; a replay can bring it to people."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, select

from services.bridge import app as bridge_app
from services.bridge.approvals import queries, question_text, store, undelivered
from services.bridge.approvals.approval import Approval
from services.bridge.approvals.undelivered import UndeliveredWatcher
from services.bridge.bot_messages import Recipient
from services.bridge.settings import BridgeSettings
from services.bridge.webhooks.schema import webhook_call
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.chats import message_changes
from services.outbox.messages import MessageState, Reason
from services.outbox.schema import message
from tests.bridge.approvals.test_from_event import asking
from tests.bridge.approvals.test_question_text import QUESTION
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of, buttons
from tests.bridge.tracking.test_stream import following
from tests.bridge.webhooks.test_results import Program, listening
from tests.conftest import BridgeFactory
from tests.servers import ManualClock, before_the_wait_ends, until

NOBODY = 987_654
NOT_FOUND = {
    "kind": "answer",
    "status": 400,
    "description": "Bad Request: chat not found",
    "chat_ids": [NOBODY],
}


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    async with listening() as running:
        yield running


async def until_undelivered(bridge: Bridge, approval_id: str) -> dict[str, Any]:
    return await bridge.until_status(approval_id, "undelivered")


def types(program: Program) -> list[str]:
    return [orjson.loads(body)["type"] for _, body in program.calls]


async def test_a_question_whose_only_message_is_given_up_says_so_and_its_program_is_called(
    talk: Bridge, program: Program
) -> None:
    asked = await talk.ask(chat_id=NOBODY, callback_url=program.url, correlation_id="run-9")
    found = await until_undelivered(talk, asked["id"])
    assert (found["visible_in"], found["perhaps_visible_in"]) == (0, 0)
    assert (found["undelivered_at"] is not None, found["closed_at"]) == (True, None)
    (shown,) = found["messages"]
    assert (shown["status"], shown["last_error"]) == ("dead_letter", "chat_not_found")
    await program.until_called(1)
    told = orjson.loads(program.calls[0][1])
    assert told["type"] == "approval.undelivered"
    assert told["data"] == {
        "id": asked["id"],
        "status": "undelivered",
        "title": "Deploy 1.4?",
        "correlation_id": "run-9",
        "event_id": asked["event_id"],
        "decision": None,
        "needed": 1,
        "approved_by": [],
        "reason": "chat_not_found",
        "metadata": None,
    }

    async def noted() -> bool:
        callback = (await talk.approval(asked["id"]))["callback"]
        return bool((callback["type"], callback["status"]) == ("approval.undelivered", "delivered"))

    await until(noted)


async def test_it_is_open_still_and_can_be_decided_over_the_api(talk: Bridge, program: Program) -> None:
    asked = await talk.ask(chat_id=NOBODY, callback_url=program.url)
    await until_undelivered(talk, asked["id"])
    decided = await talk.decide(asked["id"])
    assert (decided["status"], decided["decision"]["option"]) == ("decided", "approve")
    await program.until_called(2)
    assert types(program) == ["approval.undelivered", "approval.decided"]


async def test_an_approver_can_decide_it_by_its_code(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=NOBODY)
    await until_undelivered(talk, asked["id"])
    await people.say(ADA, "/approve")
    await people.until_text(ADA, asked["code"])
    await people.say(ADA, f"/approve {asked['code']} deny")
    assert (await talk.until_status(asked["id"], "decided"))["decision"]["option"] == "deny"


async def test_the_event_form_is_reported_likewise(talk: Bridge, program: Program) -> None:
    event = asking() | {"chat_id": NOBODY, "callback_url": program.url}
    posted = (await talk.client.post("/api/v1/events", json=event)).json()
    await until_undelivered(talk, posted["approval_id"])
    # The event's own message has a call as well.
    await program.until_called(2)
    assert sorted(types(program)) == ["approval.undelivered", "message.failed"]


async def test_the_folders_form_is_reported_likewise(
    bridge_settings: BridgeFactory, database_url: str, tmp_path: Path, program: Program
) -> None:
    events = tmp_path / "events"
    settings = bridge_settings(database_url=database_url, telegram_allowed_users=[ADA], events_dir=events)
    async with bridge_of(settings):
        made = tmp_path / "made"
        made.write_bytes(orjson.dumps(asking() | {"chat_id": NOBODY, "callback_url": program.url}))
        made.rename(events / "one.json")
        await program.until_called(2)
        assert sorted(types(program)) == ["approval.undelivered", "message.failed"]


async def test_the_endpoint_of_the_key_is_called_too_and_each_url_once(
    talk: Bridge, program: Program
) -> None:
    async with listening() as of_key:
        made = await talk.client.put("/api/v1/callbacks/default", json={"url": of_key.url})
        await talk.ask(chat_id=NOBODY, callback_url=program.url)
        await talk.ask(chat_id=NOBODY, callback_url=of_key.url)

        async def both() -> bool:
            return types(of_key).count("approval.undelivered") == 2

        await until(both)
        await program.until_called(1)
        assert types(program) == ["approval.undelivered"]
        number = types(of_key).index("approval.undelivered")
        assert of_key.verified(number, made.json()["secret"])["data"]["status"] == "undelivered"


async def test_a_question_that_one_chat_shows_is_not_undelivered(talk: Bridge, people: People) -> None:
    asked = await talk.ask(chat_id=[NOBODY, ADA])
    await people.question(ADA)

    async def both_ended() -> bool:
        found = await talk.approval(asked["id"])
        return {one["status"] for one in found["messages"]} == {"dead_letter", "delivered"}

    await until(both_ended)
    # On PostgreSQL, the messages of one view may be newer than its numbers.
    found = await talk.approval(asked["id"])
    assert (found["status"], found["visible_in"], found["perhaps_visible_in"]) == ("open", 1, 0)


async def test_a_question_that_may_stand_in_a_chat_is_not_undelivered(talk: Bridge, people: People) -> None:
    await people.sandbox.faults({"kind": "close", "deliver": True})
    posted = await talk.post(**(asking() | {"chat_id": ADA, "on_unknown": "hold"}))
    await talk.until_message(posted["message_ids"][0], "unknown")
    found = await talk.approval(posted["approval_id"])
    assert (found["status"], found["visible_in"], found["perhaps_visible_in"]) == ("open", 0, 1)


@pytest.mark.parametrize("how", ["cancelled", "suppressed"])
async def test_every_way_of_ending_undelivered_is_reported(
    talk: Bridge, people: People, program: Program, how: str
) -> None:
    if how == "cancelled":
        waits = {"description": "Too Many Requests: retry after 30", "parameters": {"retry_after": 30}}
        await people.sandbox.faults({"kind": "answer", "status": 429, "times": None} | waits)
        asked = await talk.ask(callback_url=program.url)
        (shown,) = asked["messages"]
        await talk.until_message(shown["message_id"], "retry_wait")
        answer = await talk.client.post(f"/api/v1/messages/{shown['message_id']}/cancel")
        assert answer.status_code == 200
    else:
        blocked = {"status": 403, "description": "Forbidden: bot was blocked by the user"}
        await people.sandbox.faults({"kind": "answer"} | blocked)
        before = await talk.post(chat_id=ADA)
        await talk.until_message(before["message_ids"][0], "dead_letter")
        asked = await talk.ask(callback_url=program.url)
    found = await until_undelivered(talk, asked["id"])
    assert [one["status"] for one in found["messages"]] == [how]
    await program.until_called(1)
    reason = orjson.loads(program.calls[0][1])["data"]["reason"]
    assert reason == {"cancelled": "flood_control", "suppressed": "bot_blocked"}[how]


async def test_expiry_is_reported_as_expiry_alone(
    settings: BridgeSettings, people: People, program: Program, clock: ManualClock
) -> None:
    clock.now = time.time()
    waits = {"description": "Too Many Requests: retry after 30", "parameters": {"retry_after": 30}}
    await people.sandbox.faults({"kind": "answer", "status": 429, "times": None, "chat_ids": [ADA]} | waits)
    async with bridge_of(settings, clock) as bridge:
        asked = await bridge.ask(callback_url=program.url, expires_in=60)
        await bridge.until_message(asked["messages"][0]["message_id"], "retry_wait")
        clock.advance(61)
        await bridge.until_status(asked["id"], "expired")
        await program.until_called(1)
        other = await bridge.ask(chat_id=NOBODY, callback_url=program.url)
        await until_undelivered(bridge, other["id"])
        await program.until_called(2)
    assert types(program) == ["approval.expired", "approval.undelivered"]


async def test_a_wait_ends_when_the_question_reaches_nobody(talk: Bridge, people: People) -> None:
    await people.sandbox.post("/chats", {"id": NOBODY, "title": "Nobody"})
    await people.sandbox.faults({"kind": "latency", "seconds": 1.0}, NOT_FOUND)
    asked = await talk.ask(chat_id=NOBODY)
    waiting = asyncio.create_task(talk.approval(asked["id"], wait=55))
    await talk.until_waiting()
    assert (await before_the_wait_ends(waiting))["status"] == "undelivered"
    # And so does every later one.
    later = await before_the_wait_ends(talk.approval(asked["id"], wait=55))
    assert later["status"] == "undelivered"


async def test_a_wait_at_another_replica_ends_too(replicas: BridgeSettings, people: People) -> None:
    async with bridge_of(replicas) as one, bridge_of(replicas) as two:
        await people.sandbox.post("/chats", {"id": NOBODY, "title": "Nobody"})
        await people.sandbox.faults({"kind": "latency", "seconds": 1.0}, NOT_FOUND)
        asked = await one.ask(chat_id=NOBODY)
        waits = [asyncio.create_task(each.approval(asked["id"], wait=55)) for each in (one, two)]
        assert {(await before_the_wait_ends(wait))["status"] for wait in waits} == {"undelivered"}


async def test_a_replay_that_arrives_can_be_answered_and_one_that_fails_is_not_reported_again(
    talk: Bridge, people: People, program: Program
) -> None:
    await people.sandbox.faults(NOT_FOUND | {"times": 2, "chat_ids": [ADA]})
    asked = await talk.ask(callback_url=program.url)
    await until_undelivered(talk, asked["id"])
    (shown,) = asked["messages"]
    path = f"/api/v1/messages/{shown['message_id']}/replay"
    for attempt, state in ((2, "dead_letter"), (3, "delivered")):
        assert (await talk.client.post(path)).status_code == 200

        async def ended(attempt: int = attempt, state: str = state) -> bool:
            life = await talk.message(shown["message_id"])
            return bool((life["attempts_made"], life["status"]) == (attempt, state))

        await until(ended)
    found = await talk.until_status(asked["id"], "open")
    assert (found["visible_in"], found["undelivered_at"]) == (1, None)
    await people.tap(await people.question(ADA), "Approve")
    await talk.until_status(asked["id"], "decided")
    assert buttons(await people.until_text(ADA, "☑️ Decided: Approve")) == []
    await program.until_called(2)
    assert types(program) == ["approval.undelivered", "approval.decided"]


async def test_lists_show_the_reach_and_filter_by_it(talk: Bridge, people: People) -> None:
    nobody, seen = await talk.ask(chat_id=NOBODY), await talk.ask(chat_id=[ADA, GRACE])
    await until_undelivered(talk, nobody["id"])

    async def listed(status: str) -> list[tuple[str, int]]:
        answer = await talk.client.get("/api/v1/approvals", params={"status": status})
        return [(item["id"], item["visible_in"]) for item in answer.json()["items"]]

    async def both_shown() -> bool:
        return await listed("open") == [(seen["id"], 2)]

    await until(both_shown)
    assert await listed("undelivered") == [(nobody["id"], 0)]
    await talk.decide(nobody["id"])
    assert await listed("undelivered") == []
    assert await listed("decided") == [(nobody["id"], 0)]


async def test_the_stream_carries_it_with_its_filters(talk: Bridge) -> None:
    async with following(talk.client, correlation_id="wanted") as follower:
        await talk.ask(chat_id=NOBODY)
        asked = await talk.ask(chat_id=NOBODY, correlation_id="wanted")

        async def news(status: str) -> dict[str, Any]:
            while (frame := await follower.next())["event"] != "approval":
                assert frame["data"]["correlation_id"] == "wanted"
            assert (frame["data"]["approval_id"], frame["data"]["status"]) == (asked["id"], status)
            return dict(frame["data"])

        told = await news("undelivered")
        assert (told["title"], told["event_id"]) == ("Deploy 1.4?", asked["event_id"])
        await talk.decide(asked["id"])
        await news("decided")
    async with following(talk.client, status="dead_letter") as follower:
        last = await talk.ask(chat_id=NOBODY)
        await until_undelivered(talk, last["id"])
        await talk.ask(chat_id=NOBODY)
        assert [(await follower.next())["event"] for _ in range(2)] == ["change", "change"]


# The watcher alone, on both databases


@pytest.fixture
async def tables(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    opened = await open_database(database_url, telemetry, packages=bridge_app.PACKAGES)
    yield opened
    await opened.close()


class Watching:
    """Watchers of one database, and what they publish."""

    def __init__(self, tables: Database, clock: ManualClock) -> None:
        self.tables = tables
        self.clock = clock
        self.changed: list[tuple[str, str]] = []
        clock.now = QUESTION.created_at + 5

    def watcher(self) -> UndeliveredWatcher:
        return UndeliveredWatcher(self.tables, self.clock, self._publish)

    async def _publish(self, changed: Any) -> None:
        self.changed += [(one.id, one.status) for one in changed]

    async def ask(self, *chats: int, asked: Approval = QUESTION) -> None:
        work = partial(_ask, asked=asked, chats=chats, now=self.clock.now)
        await self.tables.write("approval_ask", work)

    async def end(self, state: MessageState, chat_id: int = ADA) -> None:
        work = partial(_end, state=state, chat_id=chat_id, now=self.clock.now)
        await self.tables.write("settle", work)

    async def calls(self) -> list[str]:
        rows = await self.tables.read("read", lambda c: c.execute(select(webhook_call.c.url)).scalars().all())
        return list(rows)

    async def status(self) -> str:
        found = await self.tables.read("read", partial(queries.details, approval_id=QUESTION.id))
        assert found is not None
        return found.approval.status


def _ask(connection: Connection, asked: Approval, chats: tuple[int, ...], now: float) -> None:
    to = [Recipient(chat_id) for chat_id in chats]
    store.create(connection, asked, question_text.question(asked), to, now)


def _end(connection: Connection, state: MessageState, chat_id: int, now: float) -> None:
    seqs = connection.execute(select(message.c.seq).where(message.c.chat_id == chat_id)).scalars().all()
    message_changes.finish(connection, seqs, state, Reason.CHAT_NOT_FOUND, cause="a test", now=now)


@pytest.fixture
def watching(tables: Database, clock: ManualClock) -> Watching:
    return Watching(tables, clock)


async def test_what_ended_while_no_bridge_ran_is_noticed_at_the_start(watching: Watching) -> None:
    await watching.ask(ADA, GRACE)
    await watching.end(MessageState.DEAD_LETTER)
    await watching.end(MessageState.CANCELLED, GRACE)
    await watching.watcher().once()
    assert watching.changed == [(QUESTION.id, "undelivered")]
    await watching.watcher().once()
    assert len(watching.changed) == 1


async def test_the_last_message_counts_and_not_the_first(watching: Watching) -> None:
    watcher = watching.watcher()
    await watcher.once()
    await watching.ask(ADA, GRACE)
    await watcher.once()
    await watching.end(MessageState.SUPPRESSED)
    await watcher.once()
    assert await watching.status() == "open"
    await watching.end(MessageState.DEAD_LETTER, GRACE)
    await watcher.once()
    assert await watching.status() == "undelivered"


async def test_of_several_replicas_one_reports_it(watching: Watching) -> None:
    watchers = [watching.watcher() for _ in range(4)]
    await watching.ask(ADA)
    for watcher in watchers:
        await watcher.once()
    await watching.end(MessageState.DEAD_LETTER)
    await asyncio.gather(*(watcher.once() for watcher in watchers))
    assert watching.changed == [(QUESTION.id, "undelivered")]
    assert len(await watching.calls()) == (1 if QUESTION.callback_url else 0)


async def test_a_question_that_is_closed_meanwhile_is_left_alone(watching: Watching) -> None:
    await watching.ask(ADA)
    await watching.end(MessageState.DEAD_LETTER)
    closed = partial(undelivered.update_reach, approval_ids=["unknown"], now=watching.clock.now)
    assert await watching.tables.write("approval_reach", closed) == []
