"""Retention: deletes webhooks, resolved incidents and their messages after ``ALERT_RETENTION_DAYS``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection, Table, delete, exists, func, select

from services.alert_relay.maintenance import store as maintenance_store
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.schema import (
    audience,
    entry,
    episode,
    incident,
    last_sound,
    notification,
    receiver,
    timer,
    webhook,
    weekly_digest,
)
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.outbox.messages import FINISHED
from services.outbox.schema import attempt, change, event, message

RUN_EVERY_SECONDS = 3_600.0
DAY_SECONDS = 86_400.0
#: Rows of the leading table that one transaction deletes.
BATCH = 200

#: Deletes one batch of rows older than a time, seconds since the epoch; returns the number by table.
Step = Callable[[Connection, float], dict[str, int]]


class Retention:
    """Deletes old rows every hour.

    Args:
        database: the relay's.
        days: age at which rows are deleted.
        metrics: counts the deleted rows.
        clock: the time.
    """

    def __init__(self, database: Database, days: float, metrics: RelayMetrics, clock: Clock) -> None:
        self._database = database
        self._seconds = days * DAY_SECONDS
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            with suppress_and_log("retention_failed", self._metrics.retention_failures.inc):
                await self.once()
            await asyncio.sleep(RUN_EVERY_SECONDS)

    async def once(self) -> None:
        """Deletes everything that is old now, a batch for each transaction."""
        before = self._clock.time() - self._seconds
        for step in STEPS:
            delete_batch = partial(_delete_batch, step=step, before=before)
            while deleted := await self._database.write("retention", delete_batch):
                for table, rows in deleted.items():
                    self._metrics.pruned.labels(table).inc(rows)
        self._metrics.retention.beat(self._clock.time())


def _delete_batch(connection: Connection, step: Step, before: float) -> dict[str, int]:
    """Returns the number of deleted rows by table; empty if nothing was left to delete."""
    deleted = step(connection, before)
    return deleted if any(deleted.values()) else {}


def _webhooks(connection: Connection, before: float) -> dict[str, int]:
    """Deletes webhooks that were last received before that time."""
    old = select(webhook.c.digest).where(webhook.c.last_received_at < before).limit(BATCH)
    return {"webhook": connection.execute(delete(webhook).where(webhook.c.digest.in_(old))).rowcount}


def _receivers(connection: Connection, before: float) -> dict[str, int]:
    """Deletes receivers that last posted before that time: they are of an earlier configuration."""
    old = receiver.c.received_at < before
    return {"receiver": connection.execute(delete(receiver).where(old)).rowcount}


def _incidents(connection: Connection, before: float) -> dict[str, int]:
    """Deletes incidents that were resolved before that time, with their episodes and timelines."""
    old = select(incident.c.id).where(incident.c.resolved_at < before).order_by(incident.c.id).limit(BATCH)
    ids = connection.execute(old.with_for_update()).scalars().all()
    deleted = {
        table.name: _of_incidents(connection, table, ids)
        for table in (audience, entry, episode, last_sound, notification, timer)
        if ids
    }
    if ids:
        deleted["incident"] = connection.execute(delete(incident).where(incident.c.id.in_(ids))).rowcount
    return deleted


def _of_incidents(connection: Connection, table: Table, ids: Sequence[str]) -> int:
    return connection.execute(delete(table).where(table.c.incident_id.in_(ids))).rowcount


def _maintenance_windows(connection: Connection, before: float) -> dict[str, int]:
    """Deletes maintenance windows that were over before that time."""
    return {"maintenance_window": maintenance_store.delete_old(connection, before, BATCH)}


def _digests(connection: Connection, before: float) -> dict[str, int]:
    """Forgets weekly digests that were sent before that time."""
    # The newest one says which week was sent last.
    newest = select(func.max(weekly_digest.c.until)).scalar_subquery()
    old = (weekly_digest.c.sent_at < before) & (weekly_digest.c.until < newest)
    return {"weekly_digest": connection.execute(delete(weekly_digest).where(old)).rowcount}


def _messages(connection: Connection, before: float) -> dict[str, int]:
    """Deletes outbox events accepted before that time, if all messages ended and no incident needs them."""
    unfinished = exists().where(message.c.event_id == event.c.id, message.c.state.not_in(FINISHED))
    needed = exists().where(notification.c.id == event.c.id)
    old = select(event.c.id).where(event.c.accepted_at < before, ~unfinished, ~needed)
    ids = connection.execute(old.order_by(event.c.id).limit(BATCH).with_for_update()).scalars().all()
    if not ids:
        return {}
    seqs = select(message.c.seq).where(message.c.event_id.in_(ids))
    deleted = {
        table.name: connection.execute(delete(table).where(table.c.message_seq.in_(seqs))).rowcount
        for table in (attempt, change)
    }
    deleted["message"] = connection.execute(delete(message).where(message.c.event_id.in_(ids))).rowcount
    deleted["event"] = connection.execute(delete(event).where(event.c.id.in_(ids))).rowcount
    return deleted


#: The order matters: messages can be deleted once their incidents are gone.
STEPS: tuple[Step, ...] = (_webhooks, _receivers, _incidents, _maintenance_windows, _digests, _messages)


@asynccontextmanager
async def run_retention(
    database: Database, days: float, metrics: RelayMetrics, clock: Clock
) -> AsyncIterator[None]:
    """Runs the retention while the block runs; 0 days: nothing is deleted."""
    if not days:
        yield
        return
    async with run_in_background(Retention(database, days, metrics, clock).run()):
        yield
