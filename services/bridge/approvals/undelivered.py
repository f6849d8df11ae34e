"""Undelivered approvals: notices when an open question reaches nobody, and when it does reach somebody.

It follows the change feed while an approval is open. What it writes is computed from the messages as they
are, so any number of replicas may do the same, and a start looks at every open approval once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy import Connection, select, update

from services.bridge.approvals import approval_rows, queries, store, view
from services.bridge.approvals.approval import Approval
from services.bridge.approvals.decisions import WEBHOOK_KIND
from services.bridge.approvals.reach import Reach
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_message
from services.bridge.tracking import approval_changes
from services.bridge.tracking.callbacks import payload
from services.bridge.tracking.callbacks import store as callbacks
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.store import NewCall
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox import change_feed
from services.outbox.change_feed import Position

log = structlog.get_logger()

POLL_SECONDS = 1.0
#: Pause after each read, so that a busy second takes a few reads instead of hundreds.
GATHER_SECONDS = 0.1
#: Approvals that one statement looks at.
_PORTION = 500

#: Called after a commit with the approvals whose status it changed.
Publish = Callable[[Sequence[Approval]], Awaitable[None]]


class UndeliveredWatcher:
    """Watches the questions of open approvals until cancelled.

    Args:
        database: of the bridge.
        clock: source of the time.
        publish: called after each commit with the approvals whose status changed.
    """

    def __init__(self, database: Database, clock: Clock, publish: Publish) -> None:
        self._database = database
        self._clock = clock
        self._publish = publish
        #: Up to where the feed was read; None: not since the start.
        self._position: Position | None = None

    async def run(self) -> None:
        while True:
            with self._database.subscribe(change_feed.CHANNEL) as changed:
                try:
                    if not await self.once():
                        await _wait(changed, POLL_SECONDS)
                    await asyncio.sleep(GATHER_SECONDS)
                except Problem as problem:
                    log.warning("undelivered_waits", error=str(problem))
                    await asyncio.sleep(POLL_SECONDS)
                except Exception:
                    log.exception("undelivered_failed")
                    await asyncio.sleep(POLL_SECONDS)

    async def once(self) -> bool:
        """Reads a portion of the feed and writes what changed; False if there was nothing to read."""
        look = partial(_look, after=self._position, now=self._clock.time())
        due, position = await self._database.read("read", look)
        if due:
            work = partial(update_reach, approval_ids=due, now=self._clock.time())
            await self._publish(await self._database.write("approval_reach", work))
        # Not before: what could not be written is looked at again.
        moved, self._position = position != self._position, position
        return moved


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()


def _look(connection: Connection, after: Position | None, now: float) -> tuple[list[str], Position]:
    """The approvals whose status is to be changed, and the position up to which the feed was read.

    The end of the feed is read first: an approval that is stored meanwhile comes after it.
    """
    end = change_feed.end(connection)
    if connection.execute(_OPEN.limit(1)).first() is None:
        return [], end
    if after is None:
        return _due(connection, connection.execute(_OPEN).scalars().all(), now), end
    ids, position = change_feed.read_ids(connection, after, states=payload.ENDINGS)
    return _due(connection, _asked_by(connection, ids), now), position


_OPEN = select(approval_table.c.id).where(store.IS_OPEN)


def _asked_by(connection: Connection, message_ids: Sequence[str]) -> list[str]:
    """The open approvals that these messages ask."""
    found: set[str] = set()
    for start in range(0, len(message_ids), _PORTION):
        some = approval_message.c.message_id.in_(message_ids[start : start + _PORTION])
        query = select(approval_message.c.approval_id).where(some, store.ASKS)
        found.update(connection.execute(query).scalars())
    return sorted(found)


def _due(connection: Connection, approval_ids: Sequence[str], now: float) -> list[str]:
    """Those of the approvals whose status is to be changed."""
    due: list[str] = []
    for start in range(0, len(approval_ids), _PORTION):
        portion = approval_ids[start : start + _PORTION]
        found = _open(connection, portion)
        reaches = queries.reaches(connection, [one.id for one in found])
        due += [one.id for one in found if _changed(one, reaches[one.id], now) is not None]
    return due


def _open(connection: Connection, approval_ids: Sequence[str], *, lock: bool = False) -> list[Approval]:
    query = select(approval_table).where(approval_table.c.id.in_(approval_ids), store.IS_OPEN)
    ordered = query.order_by(approval_table.c.id)
    rows = connection.execute(ordered.with_for_update() if lock else ordered).all()
    return [approval_rows.from_row(row) for row in rows]


def _changed(approval: Approval, reach: Reach, now: float) -> Approval | None:
    """The approval with its new status; None where that stays.

    While a replayed message waits, nothing changes: it may fail again. An approval whose time is over is
    about to expire, as its messages have.
    """
    if reach.undelivered and approval.undelivered_at is None and approval.expires_at > now:
        return replace(approval, undelivered_at=now)
    if approval.undelivered_at is not None and not reach.undelivered and not reach.waits:
        return replace(approval, undelivered_at=None)
    return None


def update_reach(connection: Connection, approval_ids: Sequence[str], now: float) -> list[Approval]:
    """Writes the new status of approvals, with the webhook calls that report it; returns those that changed.

    Args:
        connection: in a transaction.
        approval_ids: of approvals; those that are closed meanwhile are left alone.
        now: seconds since the epoch.
    """
    found = _open(connection, approval_ids, lock=True)
    reaches = queries.reaches(connection, [one.id for one in found])
    changed = []
    for one in found:
        new = _changed(one, reaches[one.id], now)
        if new is None:
            continue
        connection.execute(
            update(approval_table)
            .where(approval_table.c.id == new.id)
            .values(undelivered_at=new.undelivered_at)
        )
        approval_changes.write(connection, _first_message(connection, new.id), new.id, new.status, now)
        changed.append(new)
        if new.undelivered_at is not None:
            webhooks.add(connection, _calls(connection, new, reaches[new.id], now), now)
    return changed


def _first_message(connection: Connection, approval_id: str) -> str:
    of = (approval_message.c.approval_id == approval_id, store.ASKS)
    query = select(approval_message.c.message_id).where(*of).order_by(approval_message.c.message_id).limit(1)
    return str(connection.execute(query).scalar_one())


def _calls(connection: Connection, approval: Approval, reach: Reach, now: float) -> list[NewCall]:
    """To the approval's ``callback_url`` and to the endpoint of its key."""
    body = view.undelivered_result(approval, reach.why, now).model_dump_json()
    of_key = callbacks.programs(connection, now).get(approval.client)
    return [
        NewCall(WEBHOOK_KIND, approval.id, one.url, body, approval.trace, one.secret)
        for one in callbacks.addressed(approval.callback_url, of_key)
    ]
