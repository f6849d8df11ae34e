"""Replays in bulk: by filter, in portions, resumable, and none twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select

from services.bridge.tracking import jobs, schema
from services.bridge.tracking.jobs import Jobs, NewJob
from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.search_params import Replay
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.delivery.retry_policy import Policy
from services.outbox.intake import enqueue
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import Outcome, Reason, Settled
from services.outbox.queries.message_search import Search
from services.outbox.rate_limit.limits import Limits
from services.outbox.schema import change, message
from tests.bridge.tracking.conftest import ADA, Post, State
from tests.databases import on_sqlite
from tests.outbox import making
from tests.servers import ManualClock, Sandbox, until

REFUSED = {
    "kind": "answer",
    "status": 400,
    "description": "Bad Request: message is too long",
    "times": None,
}
GRACE = 1002


async def finished(bridge: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async def done() -> dict[str, Any] | None:
        job: dict[str, Any] = (await bridge.get(f"/api/v1/jobs/{job_id}")).json()
        return None if job["status"] == "running" else job

    return await until(done)


Dead = Callable[[int], Awaitable[None]]


@pytest.fixture
def dead(post: Post, in_state: State, sandbox: Sandbox) -> Dead:
    """Makes so many dead letters, half of them to another chat."""

    async def make(count: int) -> None:
        await sandbox.faults(REFUSED)
        ids = [
            await post(f"letter {n}", chat_id=ADA if n % 2 else GRACE, correlation_id=f"run-{n % 2}")
            for n in range(count)
        ]
        for one in ids:
            await in_state(one, "dead_letter")
        await sandbox.no_faults()

    return make


async def test_dead_letters_are_listed_with_reason_and_telegrams_words(
    bridge: httpx.AsyncClient, dead: Dead, sandbox: Sandbox
) -> None:
    await dead(3)
    page = (await bridge.get("/api/v1/dead-letters", params={"limit": 2})).json()
    assert [item["title"] for item in page["items"]] == ["letter 2", "letter 1"]
    assert {item["reason"] for item in page["items"]} == {"too_long"}
    assert page["items"][0]["detail"] == "Message is too long"
    rest = (await bridge.get("/api/v1/dead-letters", params={"cursor": page["next_cursor"]})).json()
    assert [item["title"] for item in rest["items"]] == ["letter 0"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        ({"chat_id": GRACE}, ["letter 2", "letter 0"]),
        ({"correlation_id": "run-1"}, ["letter 1"]),
        ({"reason": "too_long"}, ["letter 2", "letter 1", "letter 0"]),
        ({"reason": "bot_blocked"}, []),
        ({"type": "task_completion"}, []),
        ({"q": "TTER 1"}, ["letter 1"]),
        ({"until": "2001-01-01T00:00:00Z"}, []),
    ],
)
async def test_dead_letters_are_found_by(
    bridge: httpx.AsyncClient,
    dead: Dead,
    wanted: dict[str, Any],
    titles: list[str],
) -> None:
    await dead(3)
    page = (await bridge.get("/api/v1/dead-letters", params=wanted)).json()
    assert [item["title"] for item in page["items"]] == titles


async def test_a_job_replays_what_fits_and_nothing_else(
    bridge: httpx.AsyncClient, dead: Dead, sandbox: Sandbox
) -> None:
    await dead(4)
    answer = await bridge.post("/api/v1/dead-letters/replay", json={"chat_id": GRACE, "why": "mended"})
    assert answer.status_code == 202
    job = await finished(bridge, answer.json()["id"])
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["status"] == "done"
    assert job["progress"] == {"total": 2, "passed": 2, "replayed": 2}
    unset = dict.fromkeys(("type", "bot", "correlation_id", "since", "until", "q"))
    assert job["filter"] == unset | {"status": ["dead_letter"], "reason": [], "chat_id": GRACE}
    await until(lambda: _delivered(sandbox, GRACE, 2))
    left = (await bridge.get("/api/v1/dead-letters")).json()["items"]
    assert {item["chat_id"] for item in left} == {ADA}
    one = (await bridge.get("/api/v1/messages", params={"chat_id": GRACE})).json()["items"][0]
    life = (await bridge.get(f"/api/v1/messages/{one['id']}")).json()
    assert f"replayed by default, job {job['id']}: mended" in [step["cause"] for step in life["events"]]


async def _delivered(sandbox: Sandbox, chat_id: int, count: int) -> bool:
    return len(await sandbox.delivered(chat_id)) == count


async def test_what_fails_again_is_not_replayed_by_the_same_job(
    bridge: httpx.AsyncClient, dead: Dead, sandbox: Sandbox
) -> None:
    await dead(2)
    await sandbox.faults(REFUSED)
    answer = await bridge.post("/api/v1/dead-letters/replay", json={})
    job = await finished(bridge, answer.json()["id"])
    assert job["progress"]["replayed"] == 2

    async def dead_again() -> bool:
        items = (await bridge.get("/api/v1/dead-letters")).json()["items"]
        return [item["attempts"] for item in items] == [2, 2]

    await until(dead_again)


async def test_a_job_is_asked_for_once_by_its_key(bridge: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await bridge.post("/api/v1/dead-letters/replay", json={"chat_id": 1}, headers=key)
    again = await bridge.post("/api/v1/dead-letters/replay", json={"chat_id": 1}, headers=key)
    other = await bridge.post("/api/v1/dead-letters/replay", json={"chat_id": 2}, headers=key)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert other.status_code == 422
    assert len((await bridge.get("/api/v1/jobs")).json()["items"]) == 1


async def test_jobs_are_listed_newest_first_in_pages(bridge: httpx.AsyncClient) -> None:
    ids = [
        (await bridge.post("/api/v1/dead-letters/replay", json={"chat_id": n})).json()["id"]
        for n in range(1, 4)
    ]
    page = (await bridge.get("/api/v1/jobs", params={"limit": 2})).json()
    rest = (await bridge.get("/api/v1/jobs", params={"cursor": page["next_cursor"]})).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]


@on_sqlite
@pytest.mark.parametrize(
    "wanted",
    [
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"until": "9999-12-31T23:59:59-12:00"},
        {"chat_id": 0},
        {"status": ["delivered"]},
        {"status": []},
        {"unheard": 1},
        {"reason": ["bad mood"]},
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(
    bridge: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    answer = await bridge.post("/api/v1/dead-letters/replay", json=wanted)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", list(wanted)[-1]]


@on_sqlite
@pytest.mark.parametrize("field", ["q", "type", "why", "correlation_id"])
@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
async def test_text_that_is_none_is_refused_with_its_field(
    bridge: httpx.AsyncClient, field: str, text: str
) -> None:
    body = f'{{"{field}": "{text}"}}'
    headers = {"Content-Type": "application/json"}
    answer = await bridge.post("/api/v1/dead-letters/replay", content=body, headers=headers)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["body", field]]


async def test_a_job_that_is_not_there_is_said_to_be_so(bridge: httpx.AsyncClient) -> None:
    assert (await bridge.get("/api/v1/jobs/none")).status_code == 404
    assert (await bridge.post("/api/v1/jobs/none/cancel")).status_code == 404


async def test_a_job_that_has_ended_is_not_cancelled(bridge: httpx.AsyncClient) -> None:
    answer = await bridge.post("/api/v1/dead-letters/replay", json={})
    job = await finished(bridge, answer.json()["id"])
    refused = await bridge.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert (refused.status_code, refused.json()["state"]) == (409, "done")


# The same without a server, portion by portion.


@pytest.fixture
async def store(database_url: str, telemetry: Telemetry, clock: ManualClock) -> Any:
    """A database with 250 dead letters in 5 chats."""
    opened = await open_database(
        database_url, telemetry, packages=["services.outbox", "services.bridge.tracking"]
    )
    chats = [making.each([f"t{n}" for n in range(50)], chat_id) for chat_id in range(1, 6)]
    await opened.write("enqueue", partial(enqueue.insert, submissions=chats, now=clock.now))
    while batch := await opened.write("claim", partial(_fail_all, now=clock.now)):
        assert batch == 5
    clock.advance(1)
    yield opened
    await opened.close()


def _fail_all(connection: Connection, now: float) -> int:
    """Claims the next message of every chat, and gives it up."""
    batch = claims.claim(connection, "default", "w1", 100, now=now)
    bad = making.result(Outcome.NOT_SENT, Reason.BAD_REQUEST)
    settled = [Settled(m, bad, retry_policy.decide(Policy(), m, bad, 1, 0.5)) for m in batch.messages]
    if settled:
        settlement.settle(connection, "w1", settled, Limits(0, 0, 1, 0), now)
    return len(settled)


def _replays(connection: Connection) -> dict[int, int]:
    """How often each message was replayed."""
    counts: dict[int, int] = {}
    for seq in connection.execute(select(change.c.message_seq)).scalars():
        counts[seq] = counts.get(seq, 0) + 1
    return counts


async def started(store: Database, clock: ManualClock, **wanted: Any) -> Any:
    search = Search(states=["dead_letter"], **wanted)
    row, _ = await jobs.add(store, NewJob(search, By("tests")), clock.now)
    return row


async def test_a_portion_is_passed_once_whoever_does_it(store: Database, clock: ManualClock) -> None:
    """Two replicas find the same portion; only one of them replays it."""
    row = await started(store, clock)
    portion = await store.read("job_find", partial(jobs._portion, row=row))
    assert len(portion) == jobs.PORTION
    step = partial(jobs.step, row=row, seqs=portion, now=clock.now)
    done = await asyncio.gather(*(store.write("job_step", step) for _ in range(4)))
    assert sorted(done, key=str) == [100, None, None, None]


async def test_many_workers_at_once_replay_each_message_once(
    store: Database, clock: ManualClock, telemetry: Telemetry
) -> None:
    row = await started(store, clock)
    metrics = TrackingMetrics(telemetry.registry)
    workers = [asyncio.create_task(Jobs(store, clock, metrics).run()) for _ in range(3)]

    async def done() -> bool:
        job = await store.read("job_find", partial(jobs.get, job_id=row["id"]))
        return job is not None and bool(job["state"] == "done")

    await until(done)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    counts = await store.read("read", _replays)
    assert set(counts.values()) == {1}
    assert len(counts) == 250
    job = await store.read("job_find", partial(jobs.get, job_id=row["id"]))
    assert job is not None
    assert (job["total"], job["passed"], job["done"]) == (250, 250, 250)


async def test_a_cancelled_job_stops_where_it_stands(store: Database, clock: ManualClock) -> None:
    row = await started(store, clock)
    portion = await store.read("job_find", partial(jobs._portion, row=row))
    await store.write("job_step", partial(jobs.step, row=row, seqs=portion, now=clock.now))
    await store.write("job", partial(jobs.cancel, job_id=row["id"], now=clock.now))
    moved = await store.read("job_find", partial(jobs.get, job_id=row["id"]))
    rest = await store.read("job_find", partial(jobs._portion, row=moved))
    step = partial(jobs.step, row=moved, seqs=rest, now=clock.now)
    assert await store.write("job_step", step) is None
    assert len(await store.read("read", _replays)) == 100


async def test_what_ends_after_the_job_began_is_left_alone(store: Database, clock: ManualClock) -> None:
    row = await started(store, clock, chat_id=7)
    clock.advance(1)
    late = making.each(["late"], 7)
    await store.write("enqueue", partial(enqueue.insert, submissions=[late], now=clock.now))
    await store.write("claim", partial(_fail_all, now=clock.now))
    assert await store.read("job_find", partial(jobs._portion, row=row)) == []


async def test_a_job_that_cannot_be_done_ends_with_its_error(
    store: Database, clock: ManualClock, telemetry: Telemetry
) -> None:
    row = await started(store, clock)

    def broken(connection: Connection) -> None:
        connection.execute(schema.job.update().values(wanted='{"states": ["nonsense"], "text": 5}'))

    await store.write("job", broken)
    worker = Jobs(store, clock, TrackingMetrics(telemetry.registry))
    for _ in range(jobs.MOST_FAILURES):
        await worker._once()
    job = await store.read("job_find", partial(jobs.get, job_id=row["id"]))
    assert job is not None
    assert job["state"] == "failed"
    assert job["error"]
    assert (
        await store.read(
            "read", lambda c: c.execute(select(message.c.id).where(message.c.state == "queued")).all()
        )
        == []
    )


def test_a_job_keeps_every_part_of_its_filter() -> None:
    """What were forgotten would be replayed although nobody asked for it."""
    wanted = Search(
        states=["dead_letter"],
        reasons=["bot_blocked"],
        type="git_push",
        chat_id=ADA,
        bot="alerts",
        correlation_id="run-1",
        since=1.0,
        until=2.0,
        text="part",
        limit=jobs.PORTION,
    )
    left_out = {field.name for field in fields(Search) if getattr(wanted, field.name) == field.default}
    # A page's own, and what a replay in bulk cannot be asked for.
    assert left_out == {"before", "campaign"}
    assert "campaign_id" not in Replay.model_fields
    assert jobs.search_of({"wanted": jobs._written(wanted)}) == wanted
