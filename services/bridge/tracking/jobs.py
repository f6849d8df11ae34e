"""Jobs: bulk replays, stored as rows and done in portions.

A read finds a portion; a short write replays it and moves the job's mark with a compare-and-set. So no
message is replayed twice, whatever crashes, and any replica continues from the mark. Messages that fail again
are behind the mark and are not replayed by the same job.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import orjson
import structlog
import uuid_utils
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.schema import job
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.database.interface import StoreUnavailableError
from services.kit.errors import Problem
from services.outbox import change_feed
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import MessageState
from services.outbox.queries import message_search
from services.outbox.queries.message_search import Search

log = structlog.get_logger()

CHANNEL = "jobs"
PORTION = 100
POLL_SECONDS = 1.0
MOST_FAILURES = 5


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A bulk replay to store.

    Args:
        wanted: selects the messages.
        by: who requests it, and why.
        key: the request's Idempotency-Key, or None.
    """

    wanted: Search
    by: By
    key: str | None = None


async def add(database: Database, new: NewJob, now: float) -> tuple[Any, bool]:
    """Stores a job; returns its row, and whether it is new.

    Raises:
        Problem: 422, the key was used for another filter.
    """
    total, upto = await database.read("job_find", partial(_extent, wanted=new.wanted))
    row = {
        "id": str(uuid_utils.uuid7()),
        "kind": "replay",
        "wanted": _written(new.wanted),
        "created_by": new.by.who,
        "why": new.by.why,
        "key": new.key,
        "state": State.RUNNING.value,
        "created_at": now,
        "total": total,
        "upto": upto,
    }
    try:
        await database.write("job", lambda connection: connection.execute(insert(job), row), notify=CHANNEL)
    except IntegrityError:
        earlier = await database.read("job_find", partial(_by_key, who=new.by.who, key=new.key))
        if earlier is None or earlier["wanted"] != row["wanted"]:
            raise Problem(
                422, "Idempotency-Key reused", "This Idempotency-Key was used with another filter."
            ) from None
        return earlier, False
    return await database.read("job_find", partial(get, job_id=str(row["id"]))), True


def _extent(connection: Connection, wanted: Search) -> tuple[int, int]:
    return message_search.count(connection, wanted), message_search.newest_seq(connection)


def _written(wanted: Search) -> str:
    return orjson.dumps(
        {
            "states": list(wanted.states),
            "reasons": list(wanted.reasons),
            "type": wanted.type,
            "chat_id": wanted.chat_id,
            "bot": wanted.bot,
            "correlation_id": wanted.correlation_id,
            "since": wanted.since,
            "until": wanted.until,
            "text": wanted.text,
        }
    ).decode()


def search_of(row: Any) -> Search:
    """The selection of a job."""
    return Search(**orjson.loads(row["wanted"]), limit=PORTION)


def get(connection: Connection, job_id: str) -> Any | None:
    return connection.execute(select(job).where(job.c.id == job_id)).mappings().first()


def _by_key(connection: Connection, who: str, key: str | None) -> Any | None:
    query = select(job).where(job.c.created_by == who, job.c.key == key)
    return connection.execute(query).mappings().first()


def newest(connection: Connection, *, state: str | None, before: str | None, limit: int) -> list[Any]:
    """Jobs, newest first; IDs are in the order of creation."""
    query = select(job).order_by(job.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(job.c.state == state)
    if before is not None:
        query = query.where(job.c.id < before)
    return list(connection.execute(query).mappings())


def cancel(connection: Connection, job_id: str, now: float) -> bool:
    """Cancels a running job; replayed messages stay replayed. False if it has ended."""
    running = (job.c.id == job_id, job.c.state == State.RUNNING.value)
    ended = update(job).where(*running).values(state=State.CANCELLED.value, finished_at=now)
    return connection.execute(ended).rowcount == 1


def _running(connection: Connection) -> Any | None:
    query = select(job).where(job.c.state == State.RUNNING.value).order_by(job.c.created_at).limit(1)
    return connection.execute(query).mappings().first()


def _portion(connection: Connection, row: Any) -> list[int]:
    return message_search.matching(
        connection, search_of(row), after=row["after"], upto=row["upto"], before=row["created_at"]
    )


def step(connection: Connection, row: Any, seqs: Sequence[int], now: float) -> int | None:
    """Replays a portion and moves the mark; None if another replica did, or the job has ended.

    Args:
        connection: in a transaction.
        row: of the job, as it was read.
        seqs: numbers of the next matching messages; none ends the job.
        now: seconds since the epoch.
    """
    as_read = (job.c.id == row["id"], job.c.after == row["after"], job.c.state == State.RUNNING.value)
    if not seqs:
        ended = update(job).where(*as_read).values(state=State.DONE.value, finished_at=now)
        return 0 if connection.execute(ended).rowcount else None
    passed = job.c.passed + len(seqs)
    moved = update(job).where(*as_read).values(after=seqs[-1], passed=passed, failures=0)
    if not connection.execute(moved).rowcount:
        return None
    by = By(f"{row['created_by']}, job {row['id']}", row["why"])
    states = [MessageState(state) for state in search_of(row).states]
    done = cancel_replay.replay_all(connection, seqs, by, now, states=states)
    connection.execute(update(job).where(job.c.id == row["id"]).values(done=job.c.done + done))
    return done


def _failed(connection: Connection, row: Any, error: str, now: float) -> None:
    count = row["failures"] + 1
    values: dict[str, Any] = {"failures": count, "error": error}
    if count >= MOST_FAILURES:
        values |= {"state": State.FAILED.value, "finished_at": now}
    running = (job.c.id == row["id"], job.c.state == State.RUNNING.value)
    connection.execute(update(job).where(*running).values(values))


class Jobs:
    """Does the jobs, one after the other."""

    def __init__(self, database: Database, clock: Clock, metrics: TrackingMetrics) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            started = self._clock.monotonic()
            try:
                worked = await self._once()
            except Problem as problem:
                log.warning("job_waits", error=str(problem))
                worked = False
            if worked:
                # At most half of the time, so that live traffic goes on.
                await asyncio.sleep(self._clock.monotonic() - started)
            else:
                await self._database.wait(CHANNEL, POLL_SECONDS)

    async def _once(self) -> bool:
        row = await self._database.read("job_find", _running)
        if row is None:
            return False
        try:
            seqs = await self._database.read("job_find", partial(_portion, row=row))
            work = partial(step, row=row, seqs=seqs, now=self._clock.time())
            done = await self._database.write("job_step", work, notify=enqueue.CHANNEL)
        except StoreUnavailableError:
            raise
        except Exception as error:
            log.exception("job_failed", job_id=row["id"])
            # PostgreSQL stores no NUL.
            reason = f"{type(error).__name__}: {error}".replace("\0", "")
            note = partial(_failed, row=row, error=reason, now=self._clock.time())
            await self._database.write("job", note)
            return False
        self._database.notify_local(change_feed.CHANNEL)
        self._metrics.replayed.inc(done or 0)
        return True
