"""Enqueue: what is accepted is on disk before anybody is told so.

Requests that arrive while a commit is under way share the next one: the commit itself is the
timer, so a lone request waits for nobody and a crowd shares one fsync.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, tuple_
from sqlalchemy import insert as insert_into

from services.kit.clock import Clock
from services.kit.db import Database, upsert
from services.kit.errors import Problem
from services.outbox import chats, feed, once, updating
from services.outbox.messages import IdempotencyKey, NewEvent, NewMessage, State, Submission
from services.outbox.schema import event, idempotency, message

CHANNEL = "outbox"
LARGEST_GROUP = 500
#: More than this many submissions under way are refused with 503: better than memory without end.
LARGEST_CROWD = 20_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a submission ended.

    Args:
        committed_at: when it was durable, seconds since the epoch.
        replayed: the answer that was given for the same idempotency key and body before.
    """

    committed_at: float
    replayed: str | None = None


class Intake:
    """Collects submissions and commits them together."""

    def __init__(self, database: Database, clock: Clock, *, flushers: int) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[Submission, asyncio.Future[Receipt]]] = []
        self._keys_in_flight: set[tuple[str, str]] = set()
        self._free_flushers = flushers
        self._flushes: set[asyncio.Task[None]] = set()

    async def enqueue(self, submission: Submission) -> Receipt:
        """Stores a submission; returns after the commit.

        Raises:
            Problem: 409, the same idempotency key is in flight; 422, it was used with another body;
                503, too much is under way.
            StoreUnavailableError: nothing was stored.
        """
        if len(self._waiting) >= LARGEST_CROWD:
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
                group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
                await self._commit(group)
        finally:
            self._free_flushers += 1

    async def _commit(self, group: "list[tuple[Submission, asyncio.Future[Receipt]]]") -> None:
        submissions = [submission for submission, _ in group]
        now = self._clock.time()
        try:
            verdicts = await self._database.write("enqueue", _store(submissions, now), wake=CHANNEL)
            self._database.wake_here(feed.CHANNEL)
        except Exception as error:  # noqa: BLE001 - told to every request of the group
            outcomes: list[Receipt | Exception] = [error] * len(group)
        else:
            committed = self._clock.time()
            outcomes = [
                verdict if isinstance(verdict, Problem) else Receipt(committed, verdict)
                for verdict in verdicts
            ]
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if done.cancelled():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    async def close(self) -> None:
        """Waits for the commits under way."""
        await asyncio.gather(*self._flushes)


def _store(
    submissions: Sequence[Submission], now: float
) -> Callable[[Connection], list[str | Problem | None]]:
    """Stores a group; answers for each: None (stored), the earlier answer, or a problem."""

    def work(connection: Connection) -> list[str | Problem | None]:
        refused = once.claim(connection, submissions, now)
        allowed = [s for s, problem in zip(submissions, refused, strict=True) if problem is None]
        answers = iter(_claim_keys(connection, allowed, now))
        verdicts = [problem or next(answers) for problem in refused]
        fresh = [s for s, verdict in zip(submissions, verdicts, strict=True) if verdict is None]
        insert(connection, fresh, now)
        for submission in fresh:
            if submission.alongside is not None:
                submission.alongside(connection)
        return verdicts

    return work


def _claim_keys(
    connection: Connection, submissions: Sequence[Submission], now: float
) -> list[str | Problem | None]:
    keys = [s.idempotency for s in submissions if s.idempotency is not None]
    if not keys:
        return [None] * len(submissions)
    # In one order everywhere, as the chats below.
    rows = [_key_row(key, now) for key in sorted(keys, key=lambda key: (key.client, key.key))]
    names = tuple_(idempotency.c.client, idempotency.c.key)
    claim = upsert(connection, idempotency).on_conflict_do_nothing()
    won = connection.execute(claim.values(rows).returning(idempotency.c.client, idempotency.c.key)).all()
    mine = {(client, key) for client, key in won}
    lost = [(key.client, key.key) for key in keys if (key.client, key.key) not in mine]
    stored = {
        (row.client, row.key): row
        for row in (connection.execute(select(idempotency).where(names.in_(lost))) if lost else ())
    }
    return [_verdict(s.idempotency, stored) for s in submissions]


def _key_row(key: IdempotencyKey, now: float) -> dict[str, Any]:
    return {
        "client": key.client,
        "key": key.key,
        "body_hash": key.body_hash,
        "answer": key.answer,
        "created_at": now,
    }


def _verdict(key: IdempotencyKey | None, stored: dict[tuple[str, str], Any]) -> str | Problem | None:
    earlier = stored.get((key.client, key.key)) if key else None
    if key is None or earlier is None:
        return None
    if earlier.body_hash != key.body_hash:
        return Problem(422, "Idempotency-Key reused", "This Idempotency-Key was used with another body.")
    return str(earlier.answer)


def insert(connection: Connection, submissions: Sequence[Submission], now: float) -> None:
    """Writes events, messages and the chats' turns; for use in a transaction of the caller's."""
    events = [(e, messages) for s in submissions for e, messages in zip(s.events, s.messages, strict=True)]
    if not events:
        return
    connection.execute(insert_into(event), [_event_row(e, now) for e, _ in events])
    owners = [e for e, messages in events for _ in messages]
    messages = [m for _, those in events for m in those]
    if not messages:
        return
    if any(m.update_key for m in messages):
        messages = updating.resolve(connection, messages, now)
    rows = [_message_row(e, m) for e, m in zip(owners, messages, strict=True)]
    connection.execute(insert_into(message), rows)
    feed.write(connection, [(m.id, State.QUEUED.value, 0, "") for m in messages], now)
    ready(connection, messages, now, clients=[e.client for e in owners])


def _event_row(e: NewEvent, now: float) -> dict[str, Any]:
    return {
        "id": e.id,
        "type": e.type,
        "category": e.category,
        "title": e.title,
        "source": e.source,
        "severity": e.severity,
        "body": e.body,
        "correlation_id": e.correlation_id,
        "client": e.client,
        "traceparent": e.trace.header(),
        "accepted_at": e.accepted_at,
        "written_at": now,
        "callback_url": e.callback_url,
    }


def _message_row(e: NewEvent, m: NewMessage) -> dict[str, Any]:
    return {
        "id": m.id,
        "event_id": e.id,
        "type": e.type,
        "bot": m.bot,
        "chat_id": m.chat_id,
        "thread_id": m.thread_id,
        "lane": int(m.lane),
        "silent": m.silent,
        "on_unknown": m.on_unknown.value,
        "state": State.QUEUED.value,
        "due_at": m.deliver_at,
        "expires_at": m.expires_at,
        "accepted_at": e.accepted_at,
        "edits": m.edits,
        "update_key": m.update_key,
    }


def ready(
    connection: Connection, messages: Sequence[NewMessage], now: float, *, clients: Sequence[str] = ()
) -> None:
    """Gives each chat its turn: as soon as the message is due and Telegram's rate lets it.

    Args:
        connection: in a transaction.
        messages: that wait now.
        now: seconds since the epoch.
        clients: who posted each of them; unset: nobody by name.
    """
    turns: dict[tuple[str, int], tuple[float, int]] = {}
    posters: dict[tuple[str, int], str] = {}
    for m, client in zip(messages, clients or [""] * len(messages), strict=True):
        due, lane = max(m.deliver_at, now if not m.deliver_at else 0.0), int(m.lane)
        of = (m.bot, m.chat_id)
        known_due, known_lane = turns.get(of, (due, lane))
        turns[of] = (min(due, known_due), min(lane, known_lane))
        posters.setdefault(of, client)
    chats.give_turns(connection, turns, posters)
