"""Group commit: submissions that arrive during a commit share the next one.

The commit itself is the timer: a lone request does not wait, and many requests share one fsync. A
request is answered after its commit, so an accepted event is on disk.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox import change_feed
from services.outbox.intake import enqueue
from services.outbox.intake.repeats import Counted
from services.outbox.messages import IdempotencyKey, Submission

#: Submissions in one commit.
MAX_GROUP = 500
#: Submissions that may wait for a commit; further ones are refused with 503, so that memory is bounded.
MAX_WAITING = 20_000

#: Called after each commit with the submissions that it stored, and its time in seconds since the epoch.
Stored = Callable[[Sequence[Submission], float], None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of a submission.

    Args:
        committed_at: when it was durable, seconds since the epoch.
        replayed: the earlier answer to the same idempotency key and body; None where it was stored now.
        answer: the answer where some events were repeats of earlier ones; None: that of the submission.
        repeats: number of those events.
    """

    committed_at: float
    replayed: str | None = None
    answer: str | None = None
    repeats: int = 0


class Intake:
    """Collects submissions and commits them in groups.

    Args:
        database: where they are stored.
        clock: the time.
        flushers: number of concurrent commits.
        stored: called after each commit, once the requests are answered.
    """

    def __init__(
        self, database: Database, clock: Clock, *, flushers: int, stored: Stored = lambda *_: None
    ) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[Submission, asyncio.Future[Receipt]]] = []
        self._stored = stored
        self._keys_in_flight: set[tuple[str, str]] = set()
        self._free_flushers = flushers
        self._flushes: set[asyncio.Task[None]] = set()

    async def enqueue(self, submission: Submission) -> Receipt:
        """Stores a submission; returns after the commit.

        Raises:
            Problem: 409, the same idempotency key is in flight; 422, it was used with another body;
                503, too many submissions wait.
            StoreUnavailableError: nothing was stored.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Problem(
                503, "Overloaded", "Too many events are being stored.", headers={"Retry-After": "1"}
            )
        key = submission.idempotency
        if key is None:
            return await self._queued(submission)
        name = (key.client, key.key)
        if name in self._keys_in_flight:
            raise Problem(409, "In flight", "A request with this Idempotency-Key is being stored just now.")
        self._keys_in_flight.add(name)
        try:
            return await self._queued(submission)
        finally:
            self._keys_in_flight.discard(name)

    async def earlier(self, key: IdempotencyKey) -> IdempotencyKey | None:
        """The key with its stored answer; None where it is new or was used with another body."""
        stored = await self._database.read("read", partial(enqueue.stored_keys, keys=[key]))
        row = stored.get((key.client, key.key))
        if row is None or row.body_hash != key.body_hash:
            return None
        return replace(key, answer=row.answer)

    def _queued(self, submission: Submission) -> "asyncio.Future[Receipt]":
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, done))
        if self._free_flushers:
            self._free_flushers -= 1
            task = asyncio.create_task(self._flush())
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        return done

    async def _flush(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                await self._commit(group)
        finally:
            self._free_flushers += 1

    async def _commit(self, group: "list[tuple[Submission, asyncio.Future[Receipt]]]") -> None:
        submissions = [submission for submission, _ in group]
        now = committed = self._clock.time()
        new: list[Submission] = []
        try:
            results = await enqueue.store(self._database, submissions, now)
            self._database.notify(enqueue.CHANNEL)
            self._database.notify_local(change_feed.CHANNEL)
        except Exception as error:  # noqa: BLE001 - raised to every request of the group
            outcomes: list[Receipt | Exception] = [error] * len(group)
        else:
            committed = self._clock.time()
            outcomes = [_outcome(result, committed) for result in results]
            new = [
                result.submission if isinstance(result, Counted) else s
                for s, result in zip(submissions, results, strict=True)
                if result is None or isinstance(result, Counted)
            ]
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if done.cancelled():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)
        if new:
            # After the answers: no request waits for it.
            asyncio.get_running_loop().call_soon(self._stored, new, committed)

    async def close(self) -> None:
        """Waits for the commits under way."""
        await asyncio.gather(*self._flushes)


def _outcome(result: str | Problem | Counted | None, committed: float) -> Receipt | Exception:
    if isinstance(result, Problem):
        return result
    if isinstance(result, Counted):
        return Receipt(committed, answer=result.answer, repeats=result.repeats)
    return Receipt(committed, result)
