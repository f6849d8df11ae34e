"""The callbacks of keys, and the position in the change feed up to which calls are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, delete, select

from services.bridge.tracking.callbacks import payload
from services.bridge.tracking.schema import callback
from services.bridge.webhooks import endpoints
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.store import NewCall
from services.kit.database import leader_lease
from services.kit.database.connect import upsert
from services.kit.telemetry.telemetry import TraceContext
from services.outbox import change_feed
from services.outbox.change_feed import Change, Position
from services.outbox.schema import event

log = structlog.get_logger()

#: Its row stores how far the feed was read; the lease itself is not taken.
LEASE = "callbacks"
#: A receiver has so long to learn of a new secret.
BOTH_SIGN_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Program:
    """An endpoint and its secret: two secrets while they are rotated, empty for the bridge's own."""

    url: str
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A portion of the change feed.

    Args:
        before: the mark before the portion.
        after: the mark after the portion.
        changes: messages that reached their final state.
        programs: the endpoint of each key, by the key's name.
        wanted: whether any callback is configured.
    """

    before: Position
    after: Position
    changes: Sequence[Change]
    programs: Mapping[str, Program]
    wanted: bool = True


def programs(connection: Connection, now: float) -> dict[str, Program]:
    """The endpoint of each key, by the key's name, with the secrets that sign now."""
    return {row["client"]: Program(row["url"], _secrets(row, now)) for row in rows(connection)}


def _secrets(row: Any, now: float) -> str:
    both = row["previous"] and now < row["previous_until"]
    return f"{row['secret']} {row['previous']}" if both else str(row["secret"])


def rows(connection: Connection) -> list[Any]:
    return list(connection.execute(select(callback).order_by(callback.c.client)).mappings())


def put(connection: Connection, client: str, program: Program, now: float) -> float | None:
    """Sets the callback of a key.

    Returns:
        Until when the previous secret signs too, seconds since the epoch; None without a previous one.
    """
    before = connection.execute(select(callback.c.secret).where(callback.c.client == client)).scalar()
    until = now + BOTH_SIGN_SECONDS if before else None
    statement = upsert(connection, callback).values(
        client=client,
        url=program.url,
        secret=program.secret,
        previous=before or "",
        previous_until=until or 0.0,
        created_at=now,
    )
    names = ("url", "secret", "previous", "previous_until", "created_at")
    changed = {name: statement.excluded[name] for name in names}
    connection.execute(statement.on_conflict_do_update(index_elements=[callback.c.client], set_=changed))
    if before:
        webhooks.sign_too(connection, before, program.secret)
    # A callback that was set again is expected to work, so its earlier failures are forgotten.
    endpoints.worked(connection, program.url)
    return until


def delete_callback(connection: Connection, client: str) -> bool:
    return connection.execute(delete(callback).where(callback.c.client == client)).rowcount == 1


# By the order of its partial index: without one PostgreSQL may read the whole table to find none.
_ANY = select(event.c.id).where(event.c.callback_url.is_not(None)).order_by(event.c.id).limit(1)


def read(connection: Connection, *, everybody: bool, now: float) -> Reading:
    """Reads the messages that reached their final state since the mark.

    Without any callback the mark moves to the end of the feed without reading. The end is read first, so an
    event with a callback that is stored meanwhile comes after it.

    Args:
        connection: for reading.
        everybody: whether STATUS_WEBHOOK_URL is set.
        now: seconds since the epoch.
    """
    written = leader_lease.position(connection, LEASE)
    mark = (Position.parse(written) if written else None) or Position()
    end = change_feed.end(connection)
    known = programs(connection, now)
    if not everybody and not known and connection.execute(_ANY).first() is None:
        return Reading(mark, max(mark, end), (), known, wanted=False)
    changes, after = change_feed.read(connection, mark, states=payload.ENDINGS)
    return Reading(mark, after, changes, known)


def publish(connection: Connection, reading: Reading, everybody: Program | None, now: float) -> int | None:
    """Writes the calls and moves the mark; None where another replica has done it already."""
    if not leader_lease.advance(connection, LEASE, str(reading.before), str(reading.after)):
        return None
    calls = [call for change in reading.changes for call in _made(change, reading.programs, everybody)]
    webhooks.add(connection, calls, now)
    return len(calls)


def _made(change: Change, known: Mapping[str, Program], everybody: Program | None) -> list[NewCall]:
    """As :func:`_calls`; a change whose row cannot be read is called for nobody, and stops no other."""
    try:
        return _calls(change, known, everybody)
    except (LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("callback_not_made", message_id=change.message["id"], error=reason)
        return []


def _calls(change: Change, known: Mapping[str, Program], everybody: Program | None) -> list[NewCall]:
    row = change.message
    trace = TraceContext.parse(row["traceparent"])
    fact = (f"{change.state} {change.attempt} {change.cause}", change.at)
    return [
        NewCall(payload.KIND, row["id"], one.url, payload.body(change), trace, one.secret, fact)
        for one in addressed(row["callback_url"], known.get(row["client"]), everybody)
    ]


def addressed(callback_url: str | None, *others: Program | None) -> list[Program]:
    """The endpoints to call: each URL once; the endpoint that is closest to the event wins.

    Args:
        callback_url: of the event or the approval, or None.
        others: of its key, and so on; None: there is none.
    """
    own = Program(callback_url) if callback_url else None
    found: dict[str, Program] = {}
    for program in (own, *others):
        if program is not None:
            found.setdefault(program.url, program)
    return list(found.values())


def begin(connection: Connection) -> None:
    """Makes the mark, at the feed's beginning, where there is none yet."""
    leader_lease.create(connection, LEASE, str(Position()))
