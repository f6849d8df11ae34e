"""The whole engine against the sandbox: Telegram's faults and limits, and the messages' outcomes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, func, select

from services.kit.clock import SystemClock
from services.kit.database.connect import CommitUnknownError, Database, open_database
from services.kit.health import Level
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import bot_state, claims, settlement, worker
from services.outbox.delivery.retry_policy import Policy, TopicGone
from services.outbox.engine import EngineSettings, Outbox, open_outbox
from services.outbox.intake import enqueue
from services.outbox.messages import (
    Document,
    Lane,
    MessageState,
    Rendered,
    Settled,
    Submission,
    Text,
    UnknownPolicy,
)
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import message_timeline
from services.outbox.queries.message_rows import AttemptRow
from services.outbox.queries.message_timeline import MessageTimeline
from services.outbox.rate_limit.limits import Limits
from services.outbox.schema import attempt as attempts
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from services.outbox.telegram.text import REPEATED
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.conftest import NO_LIMITS
from tests.outbox.making import ADA, GRACE, each, event, message, parts, render, submission
from tests.ports import free_port
from tests.servers import BOT_ID, Sandbox, sandbox_of, until
from tests.span_recorder import SpanRecorder

FIRST_CHAT = 50_000
#: Above a text that may have arrived before.
AGAIN = f"{REPEATED}\n"
QUICK = Policy(base=0.02, cap=0.1, give_up_after=3600, max_resends=3)
Start = Callable[..., AbstractAsyncContextManager[Outbox]]


@pytest.fixture(autouse=True)
def _polling_helps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost wake-up fails the test: the worker would sleep for too long."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 3600.0)


def now() -> float:
    return SystemClock().time()


@pytest.fixture
def start(database_url: str, sandbox: Sandbox, tmp_path: Path) -> Start:
    """Starts an engine on the test's database; a test can call it several times."""

    @asynccontextmanager
    async def run(
        *,
        url: str = sandbox.url,
        settings: EngineSettings | None = None,
        limits: Limits = NO_LIMITS,
        policy: Policy = QUICK,
        sink: SpanRecorder | None = None,
        **more: Any,
    ) -> AsyncIterator[Outbox]:
        telemetry = Telemetry("tests", ServiceSettings(data_dir=tmp_path), sink=sink)
        database = await open_database(database_url, telemetry, packages=["services.outbox"])
        clock = SystemClock()
        chosen = settings or EngineSettings(concurrency=16, limits=limits, policy=policy)
        wiring: dict[str, Any] = {
            "database": database,
            "telemetry": telemetry,
            "metrics": OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
            "clock": clock,
            "sender": Sender(make_bot(DEFAULT_TOKEN, url, 16), clock),
            "render": render,
        }
        try:
            async with open_outbox(chosen, **(wiring | more)) as outbox:
                yield outbox
        finally:
            await database.close()
            await asyncio.to_thread(telemetry.close)

    return run


def posted(*titles: str, chat_id: int = ADA, **changes: Any) -> Submission:
    """Accepted just now, so that it is due."""
    made = each(titles, chat_id, **changes)
    events = tuple(event(one.title, accepted_at=now()) for one in made.events)
    return Submission(events, made.messages)


def in_parts(*texts: str, **changes: Any) -> Submission:
    return submission(message(**changes), of=event(body=parts(*texts), accepted_at=now()))


async def life_of(outbox: Outbox, of: Submission, number: int = 0) -> MessageTimeline:
    wanted = of.messages[number][0].id
    life = await outbox.database.read("read", partial(message_timeline.timeline, message_id=wanted))
    assert life is not None
    return life


async def finished(outbox: Outbox, of: Submission, number: int = 0) -> MessageTimeline:
    """The message's life once it has ended."""

    async def ended() -> MessageTimeline | None:
        life = await life_of(outbox, of, number)
        return life if life.message["finished_at"] is not None else None

    life = await until(ended)
    assert life is not None
    return life


async def when(outbox: Outbox, of: Submission, *states: MessageState) -> MessageTimeline:
    async def there() -> MessageTimeline | None:
        life = await life_of(outbox, of)
        return life if life.message["state"] in states else None

    life = await until(there)
    assert life is not None
    return life


def reasons(life: MessageTimeline) -> list[tuple[str | None, str | None]]:
    return [(attempt["outcome"], attempt["reason"]) for attempt in life.attempts]


def end_of(attempt: AttemptRow) -> float:
    assert attempt["finished_at"] is not None
    return attempt["finished_at"]


def registry_of(outbox: Outbox) -> CollectorRegistry:
    return outbox._telemetry.registry


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float:
    value = registry.get_sample_value(name, labels)
    assert value is not None, f"no sample of {name} {labels}"
    return value


async def test_messages_arrive_in_the_order_they_were_accepted(start: Start, sandbox: Sandbox) -> None:
    async with start() as outbox:
        titles = [f"message {n}" for n in range(30)]
        await outbox.enqueue(posted(*titles))
        await until(lambda: _has(sandbox, 30))
        assert await sandbox.texts(ADA) == titles


async def _has(sandbox: Sandbox, number: int) -> bool:
    return len(await sandbox.delivered()) >= number


async def test_a_stop_finishes_what_is_in_flight_and_the_next_start_goes_on(
    start: Start, sandbox: Sandbox
) -> None:
    await sandbox.post("/chats/range", {"first_id": 100_000, "count": 60})
    await sandbox.faults({"kind": "latency", "seconds": 0.05, "times": None})
    everything = [posted("1", "2", "3", chat_id=100_000 + n) for n in range(60)]
    async with start() as outbox:
        await asyncio.gather(*(outbox.enqueue(one) for one in everything))
        await until(lambda: _has(sandbox, 20))
    async with start() as outbox:
        await until(lambda: _has(sandbox, 180))
        for one in everything:
            life = await finished(outbox, one, 2)
            assert reasons(life) == [("sent", "none")]
    assert len(await sandbox.delivered()) == 180


async def test_flood_control_delays_the_message_by_what_telegram_asked(
    start: Start, sandbox: Sandbox
) -> None:
    await sandbox.faults(
        {
            "kind": "answer",
            "status": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        }
    )
    async with start() as outbox:
        both = posted("first", "second")
        await outbox.enqueue(both)
        life = await finished(outbox, both, 1)
        assert await sandbox.texts(ADA) == ["first", "second"]
        first = await life_of(outbox, both)
        assert reasons(first) == [("not_sent", "flood_control"), ("sent", "none")]
        refused, again = first.attempts
        assert refused["retry_after"] == 1.0
        assert again["claimed_at"] >= end_of(refused) + 1.0
        assert life.attempts[0]["claimed_at"] >= again["claimed_at"]


async def test_the_bot_pauses_when_a_second_chat_is_refused(start: Start, sandbox: Sandbox) -> None:
    await sandbox.post("/chats", {"id": 1003})
    flood = {
        "kind": "answer",
        "status": 429,
        "description": "Too Many Requests: retry after 2",
        "parameters": {"retry_after": 2},
    }
    await sandbox.faults(flood | {"chat_ids": [ADA]}, flood | {"chat_ids": [GRACE]})
    async with start() as outbox:
        refused = [posted("1", chat_id=ADA), posted("1", chat_id=GRACE)]
        for one in refused:
            await outbox.enqueue(one)
            await when(outbox, one, MessageState.RETRY_WAIT)
        third = posted("third", chat_id=1003)
        await outbox.enqueue(third)
        life = await finished(outbox, third)
        times = [end_of((await life_of(outbox, one)).attempts[0]) for one in refused]
        assert life.attempts[0]["claimed_at"] >= min(times) + 2.0


async def test_a_restart_forgets_no_pause_of_the_bot(start: Start, sandbox: Sandbox) -> None:
    await sandbox.post("/chats", {"id": 1003})
    flood = {
        "kind": "answer",
        "status": 429,
        "description": "Too Many Requests: retry after 4",
        "parameters": {"retry_after": 4},
    }
    await sandbox.faults(flood | {"chat_ids": [ADA]}, flood | {"chat_ids": [GRACE]})
    refused = [posted("1", chat_id=ADA), posted("1", chat_id=GRACE)]
    async with start() as outbox:
        for one in refused:
            await outbox.enqueue(one)
            await when(outbox, one, MessageState.RETRY_WAIT)
    async with start() as outbox:
        third = posted("third", chat_id=1003)
        await outbox.enqueue(third)
        life = await finished(outbox, third)
        times = [end_of((await life_of(outbox, one)).attempts[0]) for one in refused]
    assert life.attempts[0]["claimed_at"] >= min(times) + 4.0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "raw", "status": 502, "body": "<html>Bad Gateway</html>"}, "server_error"),
        ({"kind": "answer", "status": 500, "description": "Internal Server Error"}, "server_error"),
        ({"kind": "reset"}, "no_answer"),
        ({"kind": "close"}, "no_answer"),
    ],
)
async def test_what_may_have_arrived_is_sent_again_and_marked(
    start: Start, sandbox: Sandbox, fault: dict[str, Any], reason: str
) -> None:
    await sandbox.faults(fault)
    async with start() as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        life = await finished(outbox, one)
        assert reasons(life) == [("unknown", reason), ("sent", "none")]
        assert life.message["possible_duplicate"]
        assert await sandbox.texts(ADA) == [AGAIN + "hello"]
        assert sample(registry_of(outbox), "cctelegram_unknown_outcomes_total", reason=reason) == 1


async def test_accepted_then_dropped_is_a_duplicate_that_is_marked(start: Start, sandbox: Sandbox) -> None:
    await sandbox.faults({"kind": "close", "deliver": True})
    async with start() as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        life = await finished(outbox, one)
        assert life.message["state"] == MessageState.DELIVERED
        assert await sandbox.texts(ADA) == ["hello", AGAIN + "hello"]


async def test_accepted_then_dropped_is_held_where_the_event_asks_for_it(
    start: Start, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "close", "deliver": True})
    async with start() as outbox:
        held = posted("held", on_unknown=UnknownPolicy.HOLD)
        await outbox.enqueue(held)
        await outbox.enqueue(posted("next"))
        assert (await finished(outbox, held)).message["state"] == MessageState.UNKNOWN
        await until(lambda: _has(sandbox, 2))
        assert await sandbox.texts(ADA) == ["held", "next"]


async def test_a_message_that_never_gets_an_answer_is_given_up(start: Start, sandbox: Sandbox) -> None:
    await sandbox.faults({"kind": "close", "times": None, "chat_ids": [ADA]})
    async with start() as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        life = await finished(outbox, one)
        assert (life.message["state"], life.message["reason"]) == (MessageState.DEAD_LETTER, "no_answer")
        assert len(life.attempts) == 1 + QUICK.max_resends
        registry = registry_of(outbox)
        assert sample(registry, "cctelegram_dead_letters_total", reason="no_answer") == 1
        assert sample(registry, "cctelegram_messages_failed_total", reason="no_answer") == 1
        assert sample(registry, "cctelegram_retries_total", reason="no_answer") == QUICK.max_resends


async def test_telegram_is_not_there_and_then_it_is(start: Start, tmp_path: Path) -> None:
    port = free_port()
    async with start(url=f"http://127.0.0.1:{port}") as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        await when(outbox, one, MessageState.RETRY_WAIT)
        async with sandbox_of(tmp_path / "late", port=port) as late:
            life = await finished(outbox, one)
            assert life.message["state"] == MessageState.DELIVERED
            assert not life.message["possible_duplicate"]
            assert set(reasons(life)[:-1]) == {("not_sent", "connect_failed")}
            assert await late.texts(ADA) == ["hello"]


LINK = ({"type": "text_link", "offset": 0, "length": 5, "url": "http://jenkins:8080/job/7"},)


@pytest.mark.parametrize(
    ("entities", "detail"),
    [
        (LINK, "Entity url 'http://jenkins:8080/job/7' is invalid: wrong http url"),
        (
            ({"type": "bold", "offset": 0, "length": 999},),
            "Entity beginning at utf-16 offset 0 ends after the end of the text at utf-16 offset 999",
        ),
    ],
)
async def test_entities_that_telegram_refuses_are_left_out(
    start: Start, sandbox: Sandbox, entities: tuple[dict[str, Any], ...], detail: str
) -> None:
    async with start(render=lambda of: Rendered((Text(of.title, entities),))) as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        life = await finished(outbox, one)
        assert (life.message["state"], life.message["plain"]) == (MessageState.DELIVERED, True)
        assert reasons(life) == [("not_sent", "bad_markup"), ("sent", "none")]
        assert [attempt["detail"] for attempt in life.attempts] == [detail, "as plain text"]
        assert (await sandbox.delivered(ADA))[0]["entities"] is None
        assert sample(registry_of(outbox), "cctelegram_retries_total", reason="bad_markup") == 1.0


async def test_formatted_text_that_is_refused_for_an_unknown_reason_gets_one_try_as_plain_text(
    start: Start, sandbox: Sandbox
) -> None:
    bold = ({"type": "bold", "offset": 0, "length": 1},)
    unknown = {"kind": "answer", "status": 400, "description": "Bad Request: NEW_AND_UNKNOWN"}
    async with start(
        render=lambda of: Rendered((Text(of.title, bold if of.title != "plain" else ()),))
    ) as outbox:
        await sandbox.faults(unknown)
        taken = posted("hello")
        await outbox.enqueue(taken)
        life = await finished(outbox, taken)
        assert reasons(life) == [("not_sent", "bad_request"), ("sent", "none")]
        await sandbox.faults({**unknown, "times": None})
        for title, attempts_made in (("never", 2), ("plain", 1)):
            refused = posted(title)
            await outbox.enqueue(refused)
            life = await finished(outbox, refused)
            assert life.message["state"] == MessageState.DEAD_LETTER
            assert reasons(life) == [("not_sent", "bad_request")] * attempts_made
        assert sample(registry_of(outbox), "cctelegram_retries_total", reason="bad_request") == 2.0


async def test_a_refused_bot_stops_keeps_its_queue_and_goes_on_when_it_is_restored(
    start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_state, "PROBE_SECONDS", 0.05)
    await sandbox.post(f"/bots/{BOT_ID}/revoke")
    async with start() as outbox:
        all_of_it = posted(*(f"message {n}" for n in range(5)))
        await outbox.enqueue(all_of_it)

        async def probed() -> bool:
            return (await outbox.check_telegram()).level is Level.CRITICAL

        await until(probed)
        await until(lambda: _attempted(outbox, all_of_it))
        assert await sandbox.texts() == []
        await sandbox.post(f"/bots/{BOT_ID}/restore")
        assert (await finished(outbox, all_of_it, 4)).message["state"] == MessageState.DELIVERED
        assert await sandbox.texts(ADA) == [f"message {n}" for n in range(5)]
        assert (await outbox.check_telegram()).level is Level.HEALTHY
        first = await life_of(outbox, all_of_it)
        assert first.message["retries"] == 0


async def _attempted(outbox: Outbox, of: Submission) -> bool:
    return bool((await life_of(outbox, of)).attempts)


async def test_a_bot_that_was_stopped_before_the_start_asks_first(
    start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_state, "PROBE_SECONDS", 0.05)
    await sandbox.post(f"/bots/{BOT_ID}/freeze")
    one = posted("hello")
    async with start() as outbox:
        await outbox.enqueue(one)
        await until(lambda: _settled_once(outbox, one))
    await sandbox.post(f"/bots/{BOT_ID}/unfreeze")
    async with start() as outbox:
        assert (await finished(outbox, one)).message["state"] == MessageState.DELIVERED


async def _settled_once(outbox: Outbox, of: Submission) -> bool:
    attempts = (await life_of(outbox, of)).attempts
    return any(attempt["reason"] == "bot_frozen" for attempt in attempts)


async def test_a_message_in_parts_resumes_at_the_part_that_failed(start: Start, sandbox: Sandbox) -> None:
    texts = ("one", "two", "three")
    async with start() as outbox:
        whole = in_parts(*texts)
        ids = await sandbox.faults(
            {"kind": "answer", "status": 429, "description": "Too Many Requests", "chat_ids": [GRACE]}
        )
        await outbox.enqueue(in_parts("other", chat_id=GRACE))
        await outbox.enqueue(whole)
        await outbox.enqueue(posted("next"))
        life = await finished(outbox, whole)
        assert ids
        await until(lambda: _has(sandbox, 5))
        assert await sandbox.texts(ADA) == ["one", "two", "three", "next"]
        assert len(str(life.message["telegram_message_ids"]).split(",")) == 3
        assert [attempt["part"] for attempt in life.attempts] == [0, 1, 2]


async def test_a_part_that_may_have_arrived_is_the_only_one_sent_again(
    start: Start, sandbox: Sandbox
) -> None:
    sends = 0

    def counting(of: Any) -> Rendered:
        nonlocal sends
        sends += 1
        return render(of)

    async with start(render=counting) as outbox:
        whole = in_parts("one", "two", "three")
        await outbox.enqueue(whole)
        await until(lambda: _has(sandbox, 1))
        await finished(outbox, whole)
    assert await sandbox.texts(ADA) == ["one", "two", "three"]
    await sandbox.faults({"kind": "latency", "seconds": 0.0, "times": 1}, {"kind": "close", "deliver": True})
    async with start() as outbox:
        again = in_parts("four", "five")
        await outbox.enqueue(again)
        life = await finished(outbox, again)
    assert await sandbox.texts(ADA) == ["one", "two", "three", "four", AGAIN + "four", "five"]
    assert [attempt["part"] for attempt in life.attempts] == [0, 0, 1]


@pytest.mark.parametrize(
    ("fault", "came"),
    [
        (
            {"kind": "answer", "status": 429, "description": "Too Many", "parameters": {"retry_after": 1}},
            ["two"],
        ),
        ({"kind": "answer", "status": 400, "description": "Bad Request: ENTITY_BOUNDS_INVALID"}, ["two"]),
        ({"kind": "raw", "status": 403, "body": "<html>firewall</html>"}, ["two"]),
        ({"kind": "raw", "status": 502, "body": "<html>Bad Gateway</html>"}, [AGAIN + "two"]),
        ({"kind": "reset"}, [AGAIN + "two"]),
        ({"kind": "close", "deliver": True}, ["two", AGAIN + "two"]),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_whatever_fails_in_the_middle_of_a_message_only_that_part_is_repeated(
    start: Start, sandbox: Sandbox, fault: dict[str, Any], came: list[str]
) -> None:
    def mixed(_: Any) -> Rendered:
        return Rendered((Text("one"), Document("two.txt", b"whole", Text("two")), Text("three")))

    await sandbox.faults(fault | {"methods": ["sendDocument"], "times": 1})
    async with start(render=mixed) as outbox:
        one = posted("in parts")
        await outbox.enqueue(one)
        life = await finished(outbox, one)
        assert life.message["state"] == MessageState.DELIVERED
    assert await sandbox.texts(ADA) == ["one", *came, "three"]
    assert [attempt["part"] for attempt in life.attempts] == [0, 1, 1, 2]


async def test_an_edit_whose_answer_was_lost_is_made_once_more_and_shows_no_repetition(
    start: Start, sandbox: Sandbox
) -> None:
    async with start() as outbox:
        await _progress(outbox, "10 %")
        await sandbox.faults({"kind": "close", "deliver": True, "methods": ["editMessageText"]})
        last = await _progress(outbox, "100 %")
        assert reasons(last) == [("unknown", "no_answer"), ("sent", "none")]
        assert not last.message["possible_duplicate"]
    assert await _shown(sandbox) == ["100 %"]


async def test_a_progress_message_that_somebody_deleted_is_there_again(
    start: Start, sandbox: Sandbox
) -> None:
    async with start() as outbox:
        first = await _progress(outbox, "10 %")
        token = f"/bot{DEFAULT_TOKEN}/deleteMessage"
        gone = {"chat_id": ADA, "message_id": int(first.message["telegram_message_ids"])}
        assert (await sandbox.client.post(token, json=gone)).json()["result"] is True
        assert reasons(await _progress(outbox, "50 %")) == [("not_sent", "cannot_edit"), ("sent", "none")]
        await _progress(outbox, "100 %")
    assert await _shown(sandbox) == ["100 %"]


async def test_progress_goes_on_through_the_end_of_its_first_message(start: Start, sandbox: Sandbox) -> None:
    refused = {"kind": "answer", "status": 400, "description": "Bad Request: not enough rights to send text"}
    await sandbox.faults(refused)
    async with start() as outbox:
        first = [posted(title, update_key="deploy") for title in ("10 %", "50 %")]
        await asyncio.gather(*(outbox.enqueue(one) for one in first))
        assert (await finished(outbox, first[0])).message["state"] == MessageState.DEAD_LETTER
        assert (await finished(outbox, first[1])).message["state"] == MessageState.DELIVERED
        await _progress(outbox, "100 %")
    assert await _shown(sandbox) == ["100 %"]


async def _progress(outbox: Outbox, title: str) -> MessageTimeline:
    one = posted(title, update_key="deploy")
    await outbox.enqueue(one)
    life = await finished(outbox, one)
    assert life.message["state"] == MessageState.DELIVERED
    return life


async def _shown(sandbox: Sandbox) -> list[str]:
    answer = await sandbox.client.get(f"/api/chats/{ADA}/messages")
    return [shown["message"]["text"] for shown in answer.json()["messages"]]


async def test_a_renderer_that_fails_ends_its_message_and_no_other(start: Start, sandbox: Sandbox) -> None:
    def picky(of: Any) -> Rendered:
        if of.title == "bad":
            raise ValueError("cannot be rendered")
        return Rendered(()) if of.title == "nothing" else render(of)

    async with start(render=picky) as outbox:
        all_three = posted("bad", "nothing", "good")
        await outbox.enqueue(all_three)
        assert (await finished(outbox, all_three, 2)).message["state"] == MessageState.DELIVERED
        bad, nothing = await life_of(outbox, all_three, 0), await life_of(outbox, all_three, 1)
        assert [bad.message["state"], nothing.message["state"]] == [MessageState.DEAD_LETTER] * 2
        assert bad.attempts[0]["detail"] == "ValueError: cannot be rendered"
        assert nothing.attempts[0]["reason"] == "render_failed"


async def test_an_observer_hears_of_each_end_and_its_failure_stops_nothing(
    start: Start, sandbox: Sandbox
) -> None:
    heard: list[str] = []

    async def observer(batch: Sequence[Settled]) -> None:
        heard.extend(settled.message.title for settled in batch)
        raise RuntimeError("the observer's own trouble")

    async with start(observer=observer) as outbox:
        await outbox.enqueue(posted("first"))
        await until(lambda: _has(sandbox, 1))
        second = posted("second")
        await outbox.enqueue(second)
        await finished(outbox, second)
    assert heard == ["first", "second"]


async def test_a_blocked_destination_suppresses_what_comes_later(start: Start, sandbox: Sandbox) -> None:
    await sandbox.post(f"/chats/{ADA}/block")
    async with start() as outbox:
        both = posted("first", "second")
        await outbox.enqueue(both)
        assert (await finished(outbox, both, 0)).message["state"] == MessageState.DEAD_LETTER
        assert (await finished(outbox, both, 1)).message["state"] == MessageState.SUPPRESSED
        assert len(await sandbox.sends(ADA)) == 1


async def test_a_group_that_became_a_supergroup_gets_its_messages_there(
    start: Start, sandbox: Sandbox
) -> None:
    new = -1_001_000_002_001
    await sandbox.post("/chats/-2001/upgrade", {"new_id": new}, method="PUT")
    async with start() as outbox:
        await outbox.enqueue(posted("first", "second", chat_id=-2001))
        await until(lambda: _has(sandbox, 2))
        assert await sandbox.texts(new) == ["first", "second"]


@pytest.mark.parametrize("wanted", list(TopicGone))
async def test_a_message_whose_topic_is_gone_goes_to_general_where_that_is_set(
    start: Start, sandbox: Sandbox, wanted: TopicGone
) -> None:
    async with start(policy=replace(QUICK, topic_gone=wanted)) as outbox:
        one = posted("hello", chat_id=-1_001_000_000_001, thread_id=99)
        await outbox.enqueue(one)
        life = await finished(outbox, one)
    shown = [call["message"].get("message_thread_id") for call in await sandbox.delivered()]
    if wanted is TopicGone.FAIL:
        assert (reasons(life), shown) == ([("not_sent", "thread_not_found")], [])
        return
    assert (reasons(life), shown) == ([("not_sent", "thread_not_found"), ("sent", "none")], [None])
    assert life.attempts[1]["detail"] == "to General: the topic is gone or closed"
    assert life.message["thread_id"] == 99


async def test_telegrams_own_limits_are_kept_without_one_refusal(start: Start, sandbox: Sandbox) -> None:
    await sandbox.limits(enabled=True, chat_per_second=20.0, chat_burst=3, hold_seconds=0.0)
    limits = Limits(bot_per_second=30.0, chat_per_second=18.0, chat_burst=2.0, group_per_minute=20.0)
    async with start(limits=limits) as outbox:
        await outbox.enqueue(posted(*(f"{n}" for n in range(20))))
        await until(lambda: _has(sandbox, 20))
    assert [call["status"] for call in await sandbox.sends(ADA)] == [200] * 20


async def test_urgent_messages_overtake_a_bulk_of_others(start: Start, sandbox: Sandbox) -> None:
    await sandbox.post("/chats/range", {"first_id": 200_000, "count": 300})
    settings = EngineSettings(concurrency=4, limits=Limits(100.0, 0, 1, 0), policy=QUICK)
    async with start(settings=settings) as outbox:
        bulk = [posted("bulk", chat_id=200_000 + n, lane=Lane.BULK) for n in range(300)]
        await asyncio.gather(*(outbox.enqueue(one) for one in bulk))
        await outbox.enqueue(posted("urgent", lane=Lane.URGENT))
        await until(lambda: _arrived(sandbox, "urgent"))
        assert len(await sandbox.delivered()) < 300


async def _arrived(sandbox: Sandbox, text: str) -> bool:
    return text in await sandbox.texts()


async def test_a_lost_workers_messages_are_taken_over(
    start: Start, sandbox: Sandbox, database: Database
) -> None:
    """A worker was killed: its lease is in the database, and no result."""
    one = posted("hello")
    await database.write("enqueue", partial(enqueue.insert, submissions=[one], now=now()))
    long_ago = now() - 3600
    dead = partial(claims.claim, bot="default", owner="dead", limit=5, now=now())
    batch = await database.write("claim", dead)
    assert len(batch.messages) == 1
    await database.write("renew", partial(settlement.renew, owner="dead", until=long_ago))
    async with start() as outbox:
        life = await finished(outbox, one)
        assert reasons(life) == [("unknown", "worker_lost"), ("sent", "none")]
        assert await sandbox.texts(ADA) == [AGAIN + "hello"]
        assert sample(registry_of(outbox), "cctelegram_unknown_outcomes_total", reason="worker_lost") == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_engines_share_the_work_and_send_nothing_twice(
    start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 1.0)
    await sandbox.post("/chats/range", {"first_id": 300_000, "count": 40})
    async with start() as first, start() as second:
        for n in range(3):
            await asyncio.gather(
                *(
                    (first if chat % 2 else second).enqueue(posted(f"{n}", chat_id=300_000 + chat))
                    for chat in range(40)
                )
            )
        await until(lambda: _has(sandbox, 120))
    for chat in range(40):
        assert await sandbox.texts(300_000 + chat) == ["0", "1", "2"]


async def test_the_gauges_tell_of_the_queue(start: Start, sandbox: Sandbox) -> None:
    async with start() as outbox:
        await outbox.enqueue(posted("later", deliver_at=now() + 3600))
        dead = posted("x", chat_id=424_242)
        await outbox.enqueue(dead)
        await finished(outbox, dead)

        async def measured() -> bool:
            depth = outbox.queue.depth
            return depth is not None and depth.by_state["dead_letter"] == 1

        await until(measured)
        registry = registry_of(outbox)
        assert sample(registry, "cctelegram_queue_depth", state="queued") == 0
        assert sample(registry, "cctelegram_queue_depth", state="scheduled") == 1
        assert sample(registry, "cctelegram_queue_depth", state="dead_letter") == 1
        assert sample(registry, "cctelegram_delivery_rate_percent") == 0.0
        reading = await outbox.queue.check()
        assert (reading.level, reading.measured["queue_depth"]) == (Level.HEALTHY, 0)
        assert (await outbox.database.check()).level is Level.HEALTHY


async def test_the_delivery_rate_of_the_last_hour_survives_a_restart(start: Start, sandbox: Sandbox) -> None:
    async with start() as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        await finished(outbox, one)

    async def rate() -> bool:
        hour = outbox.queue.last_hour
        return hour is not None and hour.delivery_rate_percent == 100.0

    async with start() as outbox:
        await until(rate)


# One trace for a message's whole life


async def test_a_messages_spans_are_told_from_its_stored_times(start: Start, sandbox: Sandbox) -> None:
    sink = SpanRecorder()
    await sandbox.faults({"kind": "close"})
    async with start(sink=sink) as outbox:
        one = posted("hello")
        await outbox.enqueue(one)
        life = await finished(outbox, one)
    (accepted,) = one.events
    spans = [s for s in sink.get_finished_spans() if s.context.trace_id == accepted.trace.trace_id]
    assert [s.name for s in spans] == ["accept", "enqueue", *(["queue", "pace", "send", "settle"] * 2)]
    root = spans[0]
    assert root.context.span_id == accepted.trace.span_id
    assert all(s.parent is not None and s.parent.span_id == root.context.span_id for s in spans[1:])
    failed, delivered = (s for s in spans if s.name == "send")
    for span, attempt in zip((failed, delivered), life.attempts, strict=True):
        assert attempt["started_at"] is not None
        assert (span.start_time, span.end_time) == (
            int(attempt["started_at"] * 1e9),
            int(end_of(attempt) * 1e9),
        )
    assert failed.status.description is not None
    assert failed.status.description.startswith("no_answer: ")
    assert delivered.attributes is not None
    assert delivered.attributes["cctelegram.telegram_message_id"] == int(life.message["telegram_message_ids"])
    assert delivered.attributes["cctelegram.message_id"] == life.message["id"]
    assert str(ADA) not in str([dict(s.attributes or {}) for s in spans])
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time


async def test_a_trace_that_is_not_sampled_is_told_nowhere(start: Start, sandbox: Sandbox) -> None:
    sink = SpanRecorder()
    async with start(sink=sink) as outbox:
        made = posted("hello")
        quiet = event(trace=type(made.events[0].trace)(1, 2, sampled=False), accepted_at=now())
        one = Submission((quiet,), made.messages)
        await outbox.enqueue(one)
        await finished(outbox, one)
    assert sink.get_finished_spans() == ()


async def test_a_claim_whose_answer_was_lost_is_given_back_and_sent_once(
    start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database committed the claim, and the worker does not know: no other worker takes it over."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    async with start() as outbox:
        write = outbox.database.write
        lost: list[Any] = []

        async def lose_one_claim(operation: str, work: Any, **more: Any) -> Any:
            result = await write(operation, work, **more)
            if operation == "claim" and result[1].messages and not lost:
                lost.extend(result[1].messages)
                raise CommitUnknownError(OSError("the connection was lost"))
            return result

        monkeypatch.setattr(outbox.database, "write", lose_one_claim)
        await outbox.enqueue(each(["first", "second"]))
        await until(lambda: arrived(sandbox, 2))
        life = await outbox.database.read("read", partial(message_timeline.timeline, message_id=lost[0].id))
    assert [text.split("\n")[0] for text in await sandbox.texts(ADA)] == ["first", "second"]
    assert life is not None
    assert [(a["outcome"], a["reason"]) for a in life.attempts] == [
        ("not_sent", "connect_failed"),
        ("sent", "none"),
    ]


async def test_a_slow_store_never_holds_more_open_attempts_than_there_may_be_calls(
    start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts the open attempts in every transaction: a crash leaves them without a known outcome."""
    settings = EngineSettings(concurrency=4, limits=NO_LIMITS, policy=QUICK)
    opened: list[int] = []
    claimed: list[int] = []
    unsettled = select(func.count()).where(attempts.c.settled_at.is_(None))
    async with start(settings=settings) as outbox:
        write = outbox.database.write

        async def slowly(operation: str, work: Any, **more: Any) -> Any:
            def counted(connection: Connection) -> Any:
                result = work(connection)
                opened.append(connection.execute(unsettled).scalar_one())
                return result

            async def all_calls_arrived() -> bool:
                return len(await sandbox.delivered()) >= sum(claimed)

            # Slower than Telegram: what is under way is answered first.
            await until(all_calls_arrived)
            result = await write(operation, counted, **more)
            if operation in {"claim", "turn"}:
                claimed.append(len(result[1].messages))
            return result

        monkeypatch.setattr(outbox.database, "write", slowly)
        await sandbox.post("/chats/range", {"first_id": FIRST_CHAT, "count": 40})
        those = range(FIRST_CHAT, FIRST_CHAT + 40)
        many = Submission(
            tuple(event(accepted_at=now()) for _ in those), tuple((message(chat_id),) for chat_id in those)
        )
        await outbox.enqueue(many)
        await asyncio.gather(*(finished(outbox, many, number) for number in range(40)))
    assert max(opened) == 4


async def arrived(sandbox: Sandbox, number: int) -> bool:
    return len(await sandbox.delivered(ADA)) >= number
