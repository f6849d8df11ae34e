"""Enqueue: what is accepted is on disk before anybody is told so.

Requests that arrive while a commit is under way share the next one: the commit itself is the
timer, so a lone request waits for nobody and a crowd shares one fsync. On PostgreSQL a group is one
statement (:mod:`services.outbox.intake.enqueue_postgres`), but for what has to look something up first.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select, tuple_

from services.kit.clock import Clock
from services.kit.database.connect import Database, upsert
from services.kit.database.json_rows import insert_by_place
from services.kit.database.postgres import PostgresDatabase
from services.kit.errors import Problem
from services.outbox import change_feed
from services.outbox.chats import chat_queue
from services.outbox.intake import enqueue_postgres, row_records, single_use, update_keys
from services.outbox.messages import IdempotencyKey, NewEvent, NewMessage, State, Submission
from services.outbox.schema import event, idempotency, message

CHANNEL = "outbox"
LARGEST_GROUP = 500
#: More than this many submissions under way are refused with 503: better than memory without end.
LARGEST_CROWD = 20_000

_Pair = tuple[NewEvent, tuple[NewMessage, ...]]
_Verdicts = list[str | Problem | None]
Stored = Callable[[Sequence[Submission], float], None]


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
    """Collects submissions and commits them together.

    Args:
        database: that keeps them.
        clock: the time.
        flushers: commits at once.
        stored: told of what each commit stored and when that was, behind those who wait for it.
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

    async def earlier(self, key: IdempotencyKey) -> IdempotencyKey | None:
        """The same key with the answer that was given for it and for the same body, if one was."""
        stored = (await self._database.read("read", partial(_earlier, keys=[key]))).get((key.client, key.key))
        if stored is None or stored.body_hash != key.body_hash:
            return None
        return replace(key, answer=stored.answer)

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
        now = committed = self._clock.time()
        new: list[Submission] = []
        try:
            verdicts = await self._store(submissions, now)
            self._database.notify(CHANNEL)
            self._database.notify_local(change_feed.CHANNEL)
        except Exception as error:  # noqa: BLE001 - told to every request of the group
            outcomes: list[Receipt | Exception] = [error] * len(group)
        else:
            committed = self._clock.time()
            outcomes = [
                verdict if isinstance(verdict, Problem) else Receipt(committed, verdict)
                for verdict in verdicts
            ]
            new = [s for s, verdict in zip(submissions, verdicts, strict=True) if verdict is None]
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if done.cancelled():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)
        if new:
            # Behind the answers: nobody waits for it.
            asyncio.get_running_loop().call_soon(self._stored, new, committed)

    async def _store(self, submissions: Sequence[Submission], now: float) -> _Verdicts:
        database = self._database
        if isinstance(database, PostgresDatabase) and not any(map(_asks_first, submissions)):
            return await _store_at_once(database, submissions, now)
        return await database.write("enqueue", _work(submissions, now))

    async def close(self) -> None:
        """Waits for the commits under way."""
        await asyncio.gather(*self._flushes)


async def _store_at_once(
    database: PostgresDatabase, submissions: Sequence[Submission], now: float
) -> _Verdicts:
    """Stores a group by one statement; answers for each as :func:`_work` does."""
    known = await enqueue_postgres.store(database, submissions, now)
    verdicts: _Verdicts = [None] * len(submissions)
    if known:
        places = sorted(known)
        answers = await _answers(database, [submissions[place] for place in places], now)
        for place, answer in zip(places, answers, strict=True):
            verdicts[place] = answer
    return verdicts


async def _answers(
    database: PostgresDatabase, repeated: Sequence[Submission], now: float
) -> Sequence[str | Problem | None]:
    """What those hear whose idempotency key was there. The rest of their group is stored, whatever comes."""
    keys = [s.idempotency for s in repeated if s.idempotency is not None]
    try:
        stored = await database.read("read", partial(_earlier, keys=keys))
        verdicts = [_verdict(s.idempotency, stored) for s in repeated]
        # A key whose time ended just now is there no more.
        ended = [s for s, verdict in zip(repeated, verdicts, strict=True) if verdict is None]
        anew = iter(await _store_at_once(database, ended, now) if ended else ())
        return [next(anew) if verdict is None else verdict for verdict in verdicts]
    except Problem as problem:
        return [problem] * len(repeated)


def _asks_first(submission: Submission) -> bool:
    """Whether something has to be looked up before it can be stored, or is stored beside it."""
    return (
        submission.once is not None
        or submission.alongside is not None
        or any(m.update_key for those in submission.messages for m in those)
    )


def _work(submissions: Sequence[Submission], now: float) -> Callable[[Connection], _Verdicts]:
    """Stores a group; answers for each: None (stored), the earlier answer, or a problem."""

    def work(connection: Connection) -> _Verdicts:
        refused = single_use.claim(connection, submissions, now)
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


def _claim_keys(connection: Connection, submissions: Sequence[Submission], now: float) -> _Verdicts:
    keys = [s.idempotency for s in submissions if s.idempotency is not None]
    if not keys:
        return [None] * len(submissions)
    # In one order everywhere, as the chats below.
    wanted = [row_records.of_key(key, now) for key in sorted(keys, key=lambda key: (key.client, key.key))]
    claim = upsert(connection, idempotency).on_conflict_do_nothing()
    won = connection.execute(claim.values(wanted).returning(idempotency.c.client, idempotency.c.key)).all()
    mine = {(client, key) for client, key in won}
    stored = _earlier(connection, [key for key in keys if (key.client, key.key) not in mine])
    return [_verdict(s.idempotency, stored) for s in submissions]


def _earlier(connection: Connection, keys: Sequence[IdempotencyKey]) -> dict[tuple[str, str], Any]:
    """What is stored under these keys."""
    if not keys:
        return {}
    names = tuple_(idempotency.c.client, idempotency.c.key)
    query = select(idempotency).where(names.in_([(key.client, key.key) for key in keys]))
    return {(row.client, row.key): row for row in connection.execute(query)}


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
    if any(m.update_key for _, messages in events for m in messages):
        events = _resolved(connection, events, now)
    if connection.dialect.name == "postgresql":
        enqueue_postgres.insert(connection, events, now)
    else:
        _insert_each(connection, events, now)


def _resolved(connection: Connection, events: Sequence[_Pair], now: float) -> list[_Pair]:
    """The same events, with the messages that are edits told which message they edit."""
    resolved = iter(update_keys.resolve(connection, [m for _, messages in events for m in messages], now))
    return [(e, tuple(islice(resolved, len(messages)))) for e, messages in events]


def _insert_each(connection: Connection, events: Sequence[_Pair], now: float) -> None:
    insert_by_place(connection, event, [row_records.of_event(e, now) for e, _ in events])
    owners = [e for e, messages in events for _ in messages]
    messages = [m for _, those in events for m in those]
    if not messages:
        return
    insert_by_place(
        connection, message, [row_records.of_message(e, m) for e, m in zip(owners, messages, strict=True)]
    )
    change_feed.write(connection, [(m.id, State.QUEUED.value, 0, "") for m in messages], now)
    ready(connection, messages, now, clients=[e.client for e in owners])


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
    chat_queue.give_turns(connection, turns, posters)
