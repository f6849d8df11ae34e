"""Enqueue: writes events, their messages and the chats' times of claim, in one transaction.

On PostgreSQL a group of submissions is one statement (:mod:`services.outbox.intake.enqueue_postgres`),
unless something has to be read first or is stored beside it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select, tuple_

from services.kit.database.connect import Database, upsert
from services.kit.database.json_rows import insert_by_place
from services.kit.database.postgres import PostgresDatabase
from services.kit.errors import Problem
from services.outbox import change_feed
from services.outbox.chats import chat_queue
from services.outbox.chats.chat_queue import ChatKey
from services.outbox.files import attached
from services.outbox.intake import digests, enqueue_postgres, repeats, row_records, single_use, update_keys
from services.outbox.intake.repeats import Counted
from services.outbox.messages import (
    EventRecord,
    IdempotencyKey,
    MessageRecord,
    MessageState,
    Submission,
    is_scheduled,
)
from services.outbox.schema import event, idempotency, message

#: The database's channel that wakes the workers.
CHANNEL = "outbox"

_Pair = tuple[EventRecord, tuple[MessageRecord, ...]]
#: For each submission: None where it was stored, the earlier answer to its idempotency key, what is left of
#: it where some events were repeats, or a problem.
_Results = list[str | Problem | Counted | None]


async def store(database: Database, submissions: Sequence[Submission], now: float) -> _Results:
    """Stores a group of submissions in one transaction.

    Returns:
        For each submission None where it was stored, the earlier answer to its idempotency key, or a problem.

    Raises:
        StoreUnavailableError: nothing was stored.
    """
    if isinstance(database, PostgresDatabase) and not any(map(_needs_a_transaction, submissions)):
        return await _store_in_one_statement(database, submissions, now)
    return await database.write("enqueue", _work(submissions, now))


async def _store_in_one_statement(
    database: PostgresDatabase, submissions: Sequence[Submission], now: float
) -> _Results:
    known = await enqueue_postgres.store(database, submissions, now)
    results: _Results = [None] * len(submissions)
    if known:
        places = sorted(known)
        repeated = await _repeated(database, [submissions[place] for place in places], now)
        for place, result in zip(places, repeated, strict=True):
            results[place] = result
    return results


async def _repeated(
    database: PostgresDatabase, submissions: Sequence[Submission], now: float
) -> Sequence[str | Problem | Counted | None]:
    """The results of submissions whose idempotency key is stored.

    The rest of their group is stored already: an error here is the result of these submissions alone.
    """
    keys = [s.idempotency for s in submissions if s.idempotency is not None]
    try:
        stored = await database.read("read", partial(stored_keys, keys=keys))
        results = [_result(s.idempotency, stored) for s in submissions]
        # A key that expired and was deleted since is new again.
        new = [s for s, result in zip(submissions, results, strict=True) if result is None]
        others = iter(await _store_in_one_statement(database, new, now) if new else ())
        return [next(others) if result is None else result for result in results]
    except Problem as problem:
        return [problem] * len(submissions)


def _needs_a_transaction(submission: Submission) -> bool:
    """Whether something has to be read before it can be stored, or is stored beside it."""
    return (
        submission.single_use is not None
        or submission.alongside is not None
        or submission.dedup is not None
        or any(m.update_key or m.digest for messages in submission.messages for m in messages)
        or any(e.files for e in submission.events)
    )


def _work(submissions: Sequence[Submission], now: float) -> Callable[[Connection], _Results]:
    def work(connection: Connection) -> _Results:
        refused = _without_files(connection, submissions, now)
        refused = _without_names(connection, submissions, refused, now)
        allowed = [s for s, problem in zip(submissions, refused, strict=True) if problem is None]
        answers = iter(_insert_keys(connection, allowed, now))
        results: _Results = [problem or next(answers) for problem in refused]
        places = [place for place, result in enumerate(results) if result is None]
        fresh = [submissions[place] for place in places]
        for number, counted in enumerate(repeats.count(connection, fresh, now)):
            if counted is not None:
                results[places[number]], fresh[number] = counted, counted.submission
        insert(connection, fresh, now)
        for submission in fresh:
            if submission.alongside is not None:
                submission.alongside(connection)
        return results

    return work


def _without_files(
    connection: Connection, submissions: Sequence[Submission], now: float
) -> Sequence[Problem | None]:
    """The problems of submissions whose files are not stored any more."""
    if not any(e.files for s in submissions for e in s.events):
        return [None] * len(submissions)
    return attached.hold(connection, submissions, now)


def _without_names(
    connection: Connection,
    submissions: Sequence[Submission],
    refused: Sequence[Problem | None],
    now: float,
) -> list[Problem | None]:
    """The problems with those of submissions whose single-use name was used; a refused one uses none."""
    allowed = [s for s, problem in zip(submissions, refused, strict=True) if problem is None]
    used = iter(single_use.use(connection, allowed, now))
    return [next(used) if problem is None else problem for problem in refused]


def _insert_keys(connection: Connection, submissions: Sequence[Submission], now: float) -> _Results:
    keys = [s.idempotency for s in submissions if s.idempotency is not None]
    if not keys:
        return [None] * len(submissions)
    # In one order everywhere, as the chats: two transactions must not deadlock.
    rows = [row_records.of_key(key, now) for key in sorted(keys, key=lambda key: (key.client, key.key))]
    insert_new = upsert(connection, idempotency).on_conflict_do_nothing().values(rows)
    inserted = connection.execute(insert_new.returning(idempotency.c.client, idempotency.c.key)).all()
    new = {(client, key) for client, key in inserted}
    stored = stored_keys(connection, [key for key in keys if (key.client, key.key) not in new])
    return [_result(s.idempotency, stored) for s in submissions]


def stored_keys(connection: Connection, keys: Sequence[IdempotencyKey]) -> dict[tuple[str, str], Any]:
    """The stored rows of these keys, by client and key."""
    if not keys:
        return {}
    names = tuple_(idempotency.c.client, idempotency.c.key)
    query = select(idempotency).where(names.in_([(key.client, key.key) for key in keys]))
    return {(row.client, row.key): row for row in connection.execute(query)}


def _result(key: IdempotencyKey | None, stored: dict[tuple[str, str], Any]) -> str | Problem | None:
    earlier = stored.get((key.client, key.key)) if key else None
    if key is None or earlier is None:
        return None
    if earlier.body_hash != key.body_hash:
        return Problem(422, "Idempotency-Key reused", "This Idempotency-Key was used with another body.")
    return str(earlier.answer)


def insert(connection: Connection, submissions: Sequence[Submission], now: float) -> None:
    """Writes events with files and messages, and queues their chats; for a transaction of the caller's."""
    events = [(e, messages) for s in submissions for e, messages in zip(s.events, s.messages, strict=True)]
    if not events:
        return
    joined = None
    if any(m.digest for _, messages in events for m in messages):
        joined = digests.join(connection, events, now)
        events = joined.events
    superseded: Sequence[str] = ()
    if any(m.update_key for _, messages in events for m in messages):
        events, superseded = _resolved(connection, events, now)
    if connection.dialect.name == "postgresql":
        enqueue_postgres.insert(connection, events, now)
    else:
        _insert_each(connection, events, now)
    attached.write(connection, [e for e, _ in events])
    update_keys.end_superseded(connection, superseded, now)
    if joined is not None:
        digests.write_members(connection, joined, now)


def _resolved(
    connection: Connection, events: Sequence[_Pair], now: float
) -> tuple[list[_Pair], Sequence[str]]:
    """The events with the edits of their messages resolved by update key, and the ids of superseded ones."""
    posted = [(e.client, m) for e, messages in events for m in messages]
    resolved = update_keys.resolve(connection, posted, now)
    messages = iter(resolved.messages)
    return [(e, tuple(islice(messages, len(of_event)))) for e, of_event in events], resolved.superseded


def _insert_each(connection: Connection, events: Sequence[_Pair], now: float) -> None:
    insert_by_place(connection, event, [row_records.of_event(e, now) for e, _ in events])
    owners = [e for e, messages in events for _ in messages]
    messages = [m for _, of_event in events for m in of_event]
    if not messages:
        return
    insert_by_place(
        connection, message, [row_records.of_message(e, m) for e, m in zip(owners, messages, strict=True)]
    )
    change_feed.write(connection, [(m.id, MessageState.QUEUED.value, 0, "") for m in messages], now)
    queue_chats(connection, messages, now, clients=[e.client for e in owners])


def queue_chats(
    connection: Connection, messages: Sequence[MessageRecord], now: float, *, clients: Sequence[str] = ()
) -> None:
    """Adds the chats of waiting messages to the queue, each at the time of its first message.

    Args:
        connection: in a transaction.
        messages: that wait.
        now: seconds since the epoch.
        clients: who posted each of them; unset: clients without a name.
    """
    chats: dict[ChatKey, tuple[float, int]] = {}
    first_client: dict[ChatKey, str] = {}
    for m, client in zip(messages, clients or [""] * len(messages), strict=True):
        at, lane = m.deliver_at if is_scheduled(m.deliver_at) else now, int(m.lane)
        key = (m.bot, m.chat_id)
        known_at, known_lane = chats.get(key, (at, lane))
        chats[key] = (min(at, known_at), min(lane, known_lane))
        first_client.setdefault(key, client)
    chat_queue.add(connection, chats, first_client)
