"""Repeats: an event with the dedup key of an earlier one is counted there, and not stored.

A key belongs to one client and one set of topics. The first event opens a window; until its end each event
with the key is a repeat. It is counted in the transaction that would have stored it, so the count holds in
every replica and after a crash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update

from services.outbox.messages import EventRecord, MessageRecord, Submission
from services.outbox.messages.dedup import DedupKey, Repeat
from services.outbox.schema import event, idempotency, message, repeats

#: Seconds between two edits of a message that shows its number of repeats.
EDIT_EVERY = 30.0

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_Stored = tuple[EventRecord, tuple[MessageRecord, ...]]


@dataclass(frozen=True, slots=True)
class Counted:
    """A submission of which some events were repeats.

    Args:
        submission: what is left to store.
        answer: JSON of the answer, which names the first events.
        repeats: number of events that were counted.
    """

    submission: Submission
    answer: str
    repeats: int


def count(connection: Connection, submissions: Sequence[Submission], now: float) -> list[Counted | None]:
    """Counts the repeats of submissions that are stored next; None where a submission has none.

    Args:
        connection: in a transaction that has stored their idempotency keys; the answers there are replaced.
        submissions: in the order in which they are stored.
        now: seconds since the epoch.
    """
    keys = {key for s in submissions if s.dedup for key in s.dedup.keys if key is not None}
    if not keys:
        return [None] * len(submissions)
    if connection.dialect.name == "postgresql":
        # In one order everywhere, and before the chats: two transactions must not deadlock.
        for name in sorted(f"dedup/{key.client}/{key.name}/{key.topics}" for key in keys):
            connection.execute(_LOCK, {"name": name})
    new: dict[str, _Stored] = {}
    return [_count_each(connection, s, new, now) for s in submissions]


def _count_each(
    connection: Connection, submission: Submission, new: dict[str, _Stored], now: float
) -> Counted | None:
    if submission.dedup is None:
        return None
    found: dict[int, Repeat] = {}
    keys = submission.dedup.keys
    for place, (key, e, messages) in enumerate(
        zip(keys, submission.events, submission.messages, strict=True)
    ):
        if key is None:
            continue
        counted = _count(connection, key, now)
        repeat = None if counted is None else _repeat(connection, counted, new)
        if repeat is None:
            _open(connection, key, e, now)
            new[e.id] = (e, messages)
        else:
            found[place] = repeat
    if not found:
        return None
    answer = submission.dedup.answered(found)
    if submission.idempotency is not None:
        key_row = (idempotency.c.client, idempotency.c.key)
        names = (submission.idempotency.client, submission.idempotency.key)
        connection.execute(
            update(idempotency).where(key_row[0] == names[0], key_row[1] == names[1]).values(answer=answer)
        )
    left = [place for place in range(len(submission.events)) if place not in found]
    rest = replace(
        submission,
        events=tuple(submission.events[place] for place in left),
        messages=tuple(submission.messages[place] for place in left),
        dedup=None,
    )
    return Counted(rest, answer, len(found))


def _count(connection: Connection, key: DedupKey, now: float) -> Row[tuple[str, int]] | None:
    """Counts a repeat at its first event; None if it is the first one."""
    latest = (
        select(repeats.c.event_id)
        .where(
            repeats.c.client == key.client,
            repeats.c.key == key.name,
            repeats.c.topics == key.topics,
            repeats.c.until > now,
        )
        .order_by(repeats.c.until.desc())
        .limit(1)
    )
    event_id = connection.execute(latest).scalar()
    if event_id is None:
        return None
    due = repeats.c.edited_at + EDIT_EVERY
    counted = (
        update(repeats)
        .where(repeats.c.event_id == event_id)
        .values(repeats=repeats.c.repeats + 1, last_at=now, edit_at=func.coalesce(repeats.c.edit_at, due))
        .returning(repeats.c.event_id, repeats.c.repeats)
    )
    # None where another transaction has just forgotten it.
    return connection.execute(counted).first()


def _open(connection: Connection, key: DedupKey, e: EventRecord, now: float) -> None:
    connection.execute(
        insert(repeats).values(
            event_id=e.id,
            client=key.client,
            key=key.name,
            topics=key.topics,
            first_at=e.accepted_at,
            until=now + key.window,
            repeats=0,
            last_at=now,
            edit_at=None,
            edited_at=0.0,
        )
    )


def _repeat(connection: Connection, first: Row[tuple[str, int]], new: Mapping[str, _Stored]) -> Repeat | None:
    """The first event of a repeat; None if it was archived: a window may be longer than the retention."""
    stored = new.get(first.event_id)
    if stored is not None:
        e, messages = stored
        ids = tuple(m.id for m in messages)
        return Repeat(e.id, ids, e.correlation_id, e.trace.header(), e.type, first.repeats)
    row = connection.execute(
        select(event.c.correlation_id, event.c.traceparent, event.c.type).where(event.c.id == first.event_id)
    ).first()
    if row is None:
        # No message is left that could show the count: the key begins anew.
        connection.execute(delete(repeats).where(repeats.c.event_id == first.event_id))
        return None
    of_event = select(message.c.id).where(message.c.event_id == first.event_id).order_by(message.c.seq)
    found = tuple(connection.execute(of_event).scalars())
    return Repeat(first.event_id, found, row.correlation_id, row.traceparent, row.type, first.repeats)


def of_event(connection: Connection, event_id: str) -> tuple[int, float] | None:
    """The number of repeats of an event and the time of the last one; None if there are none."""
    query = select(repeats.c.repeats, repeats.c.last_at).where(
        repeats.c.event_id == event_id, repeats.c.repeats > 0
    )
    row = connection.execute(query).first()
    return None if row is None else (row.repeats, row.last_at)


def due(connection: Connection, now: float, most: int) -> list[str]:
    """Ids of events whose number of repeats is to be shown now."""
    query = select(repeats.c.event_id).where(repeats.c.edit_at <= now).order_by(repeats.c.edit_at).limit(most)
    return list(connection.execute(query).scalars())


def take(connection: Connection, event_id: str, now: float) -> Row[tuple[int, float]] | None:
    """Takes a due edit: the number of repeats and the time of the first event; None if another has it."""
    taken = (
        update(repeats)
        .where(repeats.c.event_id == event_id, repeats.c.edit_at <= now)
        .values(edit_at=None, edited_at=now)
        .returning(repeats.c.repeats, repeats.c.first_at)
    )
    return connection.execute(taken).first()


def postpone(connection: Connection, event_id: str, until: float) -> None:
    """Shows the number later: the earlier edit still waits."""
    connection.execute(update(repeats).where(repeats.c.event_id == event_id).values(edit_at=until))


def delete_old(connection: Connection, before: float, most: int) -> int:
    """Deletes a portion of the counts whose last repeat is older, for the retention."""
    old = select(repeats.c.event_id).where(repeats.c.last_at < before, repeats.c.until < before).limit(most)
    return connection.execute(delete(repeats).where(repeats.c.event_id.in_(old))).rowcount
