"""Retention: what is old is in the archive exactly once, and nothing is lost at any moment of a crash."""

import asyncio
import errno
import gzip
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, Table, func, select

from services.bridge import app as bridge_app
from services.bridge import inbound
from services.bridge.approvals import decisions, question_text
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import Actor, AnswerVia, Approval, Given
from services.bridge.approvals.schema import approval, approval_answer, approval_message
from services.bridge.bot_messages import Recipient
from services.bridge.settings import BridgeSettings
from services.bridge.tracking import archive, retention
from services.bridge.tracking.archive import Folder, Portion
from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.retention import DAY, LEASE_SECONDS, LOST_SECONDS, Retention
from services.bridge.updates import responses
from services.bridge.updates.responses import NewResponse, ResponseKind
from services.bridge.updates.schema import response
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.schema import webhook_call
from services.bridge.webhooks.store import NewCall
from services.kit import runner
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.delivery.retry_policy import Policy
from services.outbox.files.store import FileStore
from services.outbox.files.tables import event_file, file, file_chunk
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import EventFile, MediaKind, Settled
from services.outbox.messages.dedup import DedupKey, Deduplication, Repeat
from services.outbox.rate_limit.limits import Limits
from services.outbox.schema import album_message, attempt, change, event, idempotency, message
from services.updates.parse import Sender
from tests import servers
from tests.bridge.approvals.test_question_text import QUESTION
from tests.conftest import BridgeFactory
from tests.outbox import making
from tests.outbox.making import NOW
from tests.servers import KEY, ManualClock, until

KEEP_DAYS = 30


@pytest.fixture
async def store(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    opened = await open_database(
        database_url,
        telemetry,
        packages=["services.outbox", *inbound.PACKAGES, "services.bridge.tracking"],
    )
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "archive")


def keeper(
    store: Database, folder: Folder, clock: ManualClock, *, owner: str = "r1", keep_days: float = KEEP_DAYS
) -> Retention:
    telemetry = Telemetry("tests", ServiceSettings())
    metrics = TrackingMetrics(telemetry.registry)
    made = Retention(
        store,
        folder,
        keep_days=keep_days,
        owner=owner,
        clock=clock,
        metrics=metrics,
        also=inbound.DELETE_OLD,
    )
    made.sample = telemetry.registry.get_sample_value  # type: ignore[attr-defined] # for the tests alone
    return made


async def delivered(store: Database, clock: ManualClock, *titles: str, chat_id: int = 1) -> None:
    """Messages that are delivered now."""
    work = partial(enqueue.insert, submissions=[making.each(titles, chat_id)], now=clock.now)
    await store.write("enqueue", work)
    while await store.write("claim", partial(_deliver, now=clock.now)):
        pass


def _deliver(connection: Connection, now: float) -> int:
    batch = claims.claim(connection, "default", "w1", 100, now=now)
    # Each sends an album.
    sent = replace(making.sent(), more_ids=(101, 102))
    settled = [Settled(m, sent, retry_policy.decide(Policy(), m, sent, 1, 0.5)) for m in batch.messages]
    if settled:
        settlement.settle(connection, "w1", settled, Limits(0, 0, 1, 0), now)
    return len(settled)


async def album_messages(store: Database) -> int:
    count = select(func.count()).select_from(album_message)
    return await store.read("read", lambda connection: int(connection.execute(count).scalar_one()))


async def rows(store: Database) -> dict[str, int]:
    def count(connection: Connection) -> dict[str, int]:
        tables = (message, attempt, change, event)
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }

    return await store.read("read", count)


def archived(folder: Folder) -> dict[str, list[dict[str, Any]]]:
    """Day → what is in its file."""
    return {
        file.name.removesuffix(".jsonl.gz"): [
            orjson.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()
        ]
        for file in sorted(folder.path.glob("*.jsonl.gz"))
    }


def titles(folder: Folder) -> list[str]:
    return [one["message"]["title"] for day in archived(folder).values() for one in day]


async def test_what_is_old_is_archived_whole_and_deleted(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    await delivered(store, clock, "old")
    clock.advance(KEEP_DAYS * DAY + 1)
    await delivered(store, clock, "new")
    assert await keeper(store, folder, clock).once()
    (day,) = archived(folder)
    assert day == archive.day_of(NOW)
    (one,) = archived(folder)[day]
    assert (one["message"]["title"], one["message"]["state"]) == ("old", "delivered")
    assert orjson.loads(one["message"]["body"]) == {"parts": ["old"]}
    assert [made["outcome"] for made in one["attempts"]] == ["sent"]
    assert await rows(store) == {"message": 1, "attempt": 1, "change": 0, "event": 1}


async def test_a_dedup_key_begins_anew_once_its_first_event_is_archived(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    """A window may be longer than the retention."""
    answered: list[int] = []

    def answer(found: Mapping[int, Repeat]) -> str:
        answered.append(found[0].repeats)
        return "{}"

    async def post(window: float = KEEP_DAYS * DAY) -> None:
        key = DedupKey("default", "disk", "topics", window)
        posted = replace(making.submission(), dedup=Deduplication((key,), answer))
        await enqueue.store(store, [posted], clock.now)
        while await store.write("claim", partial(_deliver, now=clock.now)):
            pass

    await post()
    await post()
    clock.advance(2 * DAY)
    assert await keeper(store, folder, clock, keep_days=1).once()
    assert titles(folder) == ["hello"]
    await post(window=60)
    await post()
    assert answered == [1, 1]
    assert (await rows(store))["event"] == 1


async def _text(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_file_goes_with_the_last_event_that_shows_it(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    files = FileStore(store, clock)
    shown, unused = await files.write(_text(b"shown")), await files.write(_text(b"unused"))
    attachment = EventFile(MediaKind.DOCUMENT, "a.txt", shown.id)
    for title in ("old", "new"):
        clock.advance(KEEP_DAYS * DAY + 1)
        sent = making.submission(making.message(1), of=making.event(title, files=(attachment,)))
        await store.write("enqueue", partial(enqueue.insert, submissions=[sent], now=clock.now))
        while await store.write("claim", partial(_deliver, now=clock.now)):
            pass
        assert await keeper(store, folder, clock).once()
        assert set(await files.find([shown.id, unused.id])) == {shown.id}
    assert titles(folder) == ["old"]
    clock.advance(KEEP_DAYS * DAY + 1)
    assert await keeper(store, folder, clock).once()
    clock.advance(1)
    # The events of a run go after its files: the next run sweeps what they named.
    assert await keeper(store, folder, clock).once()
    assert await files.find([shown.id]) == {}
    assert await count(store, file, file_chunk, event_file) == [0, 0, 0]


async def test_a_day_is_a_file_and_grows(store: Database, folder: Folder, clock: ManualClock) -> None:
    for number in range(3):
        await delivered(store, clock, f"day {number}", f"day {number} again")
        clock.advance(DAY)
    clock.advance(KEEP_DAYS * DAY)
    made = keeper(store, folder, clock)
    await made.once()
    assert [len(day) for day in archived(folder).values()] == [2, 2, 2]
    assert made.sample("cctelegram_archived_messages_total") == 6  # type: ignore[attr-defined] # see keeper()
    assert made.age() == 0
    clock.advance(60)
    assert made.age() == 60


async def test_what_waits_is_kept_however_old(store: Database, folder: Folder, clock: ManualClock) -> None:
    work = partial(enqueue.insert, submissions=[making.each(["waits"])], now=clock.now)
    await store.write("enqueue", work)
    clock.advance(100 * DAY)
    await keeper(store, folder, clock).once()
    assert (await rows(store))["message"] == 1


async def test_an_event_stays_until_its_last_message_goes(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    posted = making.submission(making.message(1), making.message(2, deliver_at=NOW + 3 * DAY))
    await store.write("enqueue", partial(enqueue.insert, submissions=[posted], now=clock.now))
    await store.write("claim", partial(_deliver, now=clock.now))
    clock.advance(KEEP_DAYS * DAY + 1)
    await keeper(store, folder, clock).once()
    assert await rows(store) == {"message": 1, "attempt": 0, "change": 0, "event": 1}
    assert await album_messages(store) == 0
    await store.write("claim", partial(_deliver, now=clock.now))
    clock.advance(KEEP_DAYS * DAY + 1)
    await keeper(store, folder, clock).once()
    assert await rows(store) == {"message": 0, "attempt": 0, "change": 0, "event": 0}
    assert len(titles(folder)) == 2


async def test_without_a_limit_everything_stays_but_spent_keys(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    await delivered(store, clock, "old")
    key = making.submission(key=making.key())
    await store.write("enqueue", enqueue._work([key], clock.now))
    clock.advance(400 * DAY)
    await keeper(store, folder, clock, keep_days=0).once()
    assert (await rows(store))["message"] == 2
    assert not folder.path.exists()
    keys = await store.read("read", lambda c: c.execute(select(idempotency.c.key)).all())
    assert keys == []


async def test_keys_are_kept_for_a_day(store: Database, folder: Folder, clock: ManualClock) -> None:
    await store.write("enqueue", enqueue._work([making.submission(key=making.key())], clock.now))
    clock.advance(DAY - 1)
    await keeper(store, folder, clock).once()
    keys = await store.read("read", lambda c: c.execute(select(idempotency.c.key)).all())
    assert len(keys) == 1


async def test_calls_that_ended_long_ago_go_and_those_that_wait_stay(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    now = time.time()
    clock.now = now
    calls = [NewCall("message", str(n), "http://127.0.0.1/", "{}") for n in range(3)]
    ids = await store.write("read", partial(webhooks.add, calls=calls, now=now))

    def end(connection: Connection) -> None:
        ended = webhook_call.update().where(webhook_call.c.id.in_(ids[:2]))
        connection.execute(ended.values(state="delivered", finished_at=now))

    await store.write("read", end)
    await keeper(store, folder, clock).once()
    assert await store.read("read", lambda c: len(c.execute(select(webhook_call)).all())) == 3
    clock.advance(KEEP_DAYS * DAY + 1)
    await keeper(store, folder, clock).once()
    left = await store.read("read", lambda c: c.execute(select(webhook_call.c.id)).scalars().all())
    assert left == [ids[2]]


def question(number: int, now: float) -> Approval:
    return replace(
        QUESTION,
        id=f"id-{number}",
        code=f"CODE{number}",
        token=f"token-{number}",
        event_id=f"event-{number}",
        created_at=now,
        expires_at=now + 600,
    )


async def asked(store: Database, number: int, now: float, *, answered: bool) -> None:
    """A question, with its message; perhaps answered by somebody who may not, and by somebody who may."""

    def work(connection: Connection) -> None:
        one = question(number, now)
        approvals.create(connection, one, question_text.question(one), [Recipient(1001)], now)
        if answered:
            for actor in (Actor("Mallory", 5), Actor("Ada", 1001)):
                decisions.answer(connection, one, actor, AnswerVia.TAP, Given(0), now=now)

    await store.write("approval_ask", work)


async def count(store: Database, *tables: Table) -> list[int]:
    def work(connection: Connection) -> list[int]:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    return await store.read("read", work)


async def test_questions_that_were_closed_long_ago_go_with_their_answers_and_open_ones_stay(
    store: Database, folder: Folder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PORTION", 2)
    for number in range(5):
        await asked(store, number, clock.now, answered=number != 3)
    clock.advance(KEEP_DAYS * DAY - 1)
    await asked(store, 9, clock.now, answered=True)
    first = keeper(store, folder, clock)
    await first.once()
    assert await count(store, approval, approval_answer) == [6, 10]
    clock.advance(2)
    made = keeper(store, folder, clock)
    await made.once()
    left = await store.read("read", lambda c: c.execute(select(approval.c.id)).scalars().all())
    assert sorted(left) == ["id-3", "id-9"]
    assert await count(store, approval_answer) == [2]
    kept = await store.read(
        "read", lambda c: c.execute(select(approval_message.c.approval_id)).scalars().all()
    )
    assert set(kept) == {"id-3", "id-9"}
    assert made.sample("cctelegram_pruned_rows_total", {"table": "approval"}) == 4  # type: ignore[attr-defined] # see keeper()


async def test_what_people_sent_long_ago_goes(
    store: Database, folder: Folder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PORTION", 2)

    async def heard(text: str) -> None:
        ada = Sender(1001, "Ada", None)
        new = NewResponse(ResponseKind.TEXT, "default", ada, text, TraceContext(1, 2, sampled=True), 1001)
        await store.write("updates", partial(responses.add, new=new, now=clock.now))

    for number in range(5):
        await heard(f"old {number}")
    clock.advance(KEEP_DAYS * DAY - 1)
    await heard("new")
    await keeper(store, folder, clock).once()
    assert await count(store, response) == [6]
    clock.advance(2)
    made = keeper(store, folder, clock)
    await made.once()
    left = await store.read("read", lambda c: c.execute(select(response.c.text)).scalars().all())
    assert left == ["new"]
    assert made.sample("cctelegram_pruned_rows_total", {"table": "response"}) == 5  # type: ignore[attr-defined] # see keeper()


async def test_without_a_limit_questions_and_responses_stay(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    await asked(store, 1, clock.now, answered=True)
    clock.advance(1_000 * DAY)
    await keeper(store, folder, clock, keep_days=0).once()
    assert await count(store, approval, approval_answer) == [1, 2]


async def test_a_running_bridge_forgets_old_questions_by_itself(
    bridge_settings: BridgeFactory, database_url: str, clock: ManualClock
) -> None:
    clock.now = time.time()
    settings = bridge_settings(database_url=database_url, retention_days=KEEP_DAYS)

    def create(chosen: BridgeSettings) -> FastAPI:
        return bridge_app.create_app(chosen, clock)

    body = {"title": "Deploy?", "prompt": "now"}
    async with servers.client_of(create, settings) as client:
        old = (await client.post("/api/v1/approvals", json=body)).json()
        await client.post(f"/api/v1/approvals/{old['id']}/cancel")
    clock.advance(KEEP_DAYS * DAY + 60)
    async with servers.client_of(create, settings) as client:

        async def gone() -> bool:
            return (await client.get(f"/api/v1/approvals/{old['id']}")).status_code == 404

        await until(gone)


class Crash(BaseException):
    """The process ends here."""


class Crashing(Folder):
    """A folder whose process dies at a chosen moment."""

    def __init__(self, path: Path, when: str) -> None:
        super().__init__(path)
        self._when = when

    def append(self, made: archive.Note, portion: Portion) -> None:
        if self._when == "before":
            raise Crash
        super().append(made, portion)
        if self._when == "torn":
            file = self.path / made.file
            with file.open("r+b") as cut:
                cut.truncate(made.size_before + 7)
        raise Crash


@pytest.mark.parametrize("when", ["before", "torn", "after"])
async def test_a_crash_at_any_moment_loses_nothing_and_archives_nothing_twice(
    store: Database, folder: Folder, clock: ManualClock, when: str
) -> None:
    await delivered(store, clock, "first")
    clock.advance(KEEP_DAYS * DAY + 1)
    await keeper(store, folder, clock).once()
    clock.now = NOW + 60
    await delivered(store, clock, "second", "third")
    clock.advance(KEEP_DAYS * DAY + 1)
    with pytest.raises(Crash):
        await keeper(store, Crashing(folder.path, when), clock).once()
    assert (await rows(store))["message"] == 2
    clock.advance(LEASE_SECONDS + 1)
    assert await keeper(store, folder, clock, owner="r2").once()
    assert titles(folder) == ["first", "second", "third"]
    assert (await rows(store))["message"] == 0
    assert await store.read("read", archive.notes) == []


async def test_one_replica_at_a_time(store: Database, folder: Folder, clock: ManualClock) -> None:
    await delivered(store, clock, "old")
    clock.advance(KEEP_DAYS * DAY + 1)
    with pytest.raises(Crash):
        await keeper(store, Crashing(folder.path, "after"), clock).once()
    assert not await keeper(store, folder, clock, owner="r2").once()


async def test_many_at_once_archive_each_message_once(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    for chat_id in range(1, 6):
        await delivered(store, clock, *(f"{chat_id}.{n}" for n in range(20)), chat_id=chat_id)
    clock.advance(KEEP_DAYS * DAY + 1)
    makers = [keeper(store, folder, clock, owner=f"r{n}") for n in range(4)]
    await asyncio.gather(*(made.once() for made in makers), return_exceptions=True)
    clock.advance(LEASE_SECONDS + 1)
    await makers[0].once()
    found = titles(folder)
    assert (len(found), len(set(found))) == (100, 100)
    assert (await rows(store))["message"] == 0


class Replaying(Folder):
    """Somebody replays a message while it is being archived."""

    def __init__(self, path: Path, replay: Any) -> None:
        super().__init__(path)
        self._replay = replay

    def append(self, made: archive.Note, portion: Portion) -> None:
        super().append(made, portion)
        replay, self._replay = self._replay, None
        if replay:
            replay(portion.seqs[:1])


async def test_a_message_that_is_replayed_meanwhile_is_not_archived(
    store: Database, folder: Folder, clock: ManualClock
) -> None:
    ids = [making.each(["held"], 1), making.each(["other"], 2)]
    await store.write("enqueue", partial(enqueue.insert, submissions=ids, now=clock.now))
    cancelled = ids[0].messages[0][0].id
    by = By("tests")
    await store.write("cancel", partial(cancel_replay.cancel, message_id=cancelled, by=by, now=clock.now))
    await store.write("claim", partial(_deliver, now=clock.now))
    clock.advance(KEEP_DAYS * DAY + 1)
    loop = asyncio.get_running_loop()

    def replay(_: list[int]) -> None:
        work = partial(cancel_replay.replay, message_id=cancelled, by=by, now=clock.now)
        asyncio.run_coroutine_threadsafe(store.write("replay", work), loop).result(10)

    await keeper(store, Replaying(folder.path, replay), clock).once()
    assert titles(folder) == ["other"]
    assert (await rows(store))["message"] == 1


async def test_what_another_machine_left_open_is_waited_for_a_day(
    store: Database, folder: Folder, clock: ManualClock, tmp_path: Path
) -> None:
    await delivered(store, clock, "old")
    clock.advance(KEEP_DAYS * DAY + 1)
    elsewhere = Crashing(tmp_path / "elsewhere", "after")
    with pytest.raises(Crash):
        await keeper(store, elsewhere, clock).once()
    clock.advance(LEASE_SECONDS + 1)
    assert await keeper(store, folder, clock, owner="r2").once()
    assert titles(folder) == []
    clock.advance(LOST_SECONDS)
    assert await keeper(store, folder, clock, owner="r2").once()
    assert titles(folder) == ["old"]


async def test_a_file_is_for_its_owner_alone(store: Database, folder: Folder, clock: ManualClock) -> None:
    await delivered(store, clock, "old")
    clock.advance(KEEP_DAYS * DAY + 1)
    await keeper(store, folder, clock).once()
    (file,) = folder.path.glob("*.gz")
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


async def test_a_disk_that_refuses_stops_nothing_else(
    store: Database, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    made = keeper(store, Folder(tmp_path / "file"), clock)
    run = asyncio.create_task(made.run())

    async def failed() -> bool:
        return bool(made.sample("cctelegram_retention_failures_total"))  # type: ignore[attr-defined] # see keeper()

    await until(failed)
    made.stop()
    await run
    assert made.age() is None


def _full(handle: int, packed: bytes) -> None:
    """A disk that has room for a few bytes more."""
    os.write(handle, packed[:7])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_deletes_nothing_and_leaves_the_archive_whole(
    store: Database, folder: Folder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await delivered(store, clock, "first")
    clock.advance(KEEP_DAYS * DAY + 1)
    await keeper(store, folder, clock).once()
    clock.now = NOW + 60
    await delivered(store, clock, "second", "third")
    clock.advance(KEEP_DAYS * DAY + 1)
    made = keeper(store, folder, clock)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "_write", _full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                await made.once()
            assert (await rows(store))["message"] == 2
            assert titles(folder) == ["first"]
    assert await made.once()
    assert titles(folder) == ["first", "second", "third"]
    assert (await rows(store))["message"] == 0


async def test_a_running_bridge_archives_by_itself(
    bridge_settings: BridgeFactory, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.05)
    settings = bridge_settings(database_url=database_url, retention_days=1e-9)
    async with (
        runner.running(bridge_app.create_app, settings) as running,
        servers.http(running.url, key=KEY) as client,
    ):
        answer = await client.post("/api/v1/events", json={"type": "custom_event", "title": "seen"})
        message_id = answer.json()["message_ids"][0]

        async def gone() -> bool:
            return (await client.get(f"/api/v1/messages/{message_id}")).status_code == 404

        async def counted() -> str | None:
            metrics = (await client.get("/metrics")).text
            return metrics if "cctelegram_archived_messages_total 1.0" in metrics else None

        await until(gone)
        metrics = await until(counted)
    assert titles(Folder(tmp_path / "archive")) == ["seen"]
    assert "cctelegram_retention_last_success_age_seconds" in metrics
