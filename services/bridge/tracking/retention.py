"""Retention: moves old messages into the archive in small portions, one replica at a time."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
from sqlalchemy import Connection, delete, select, tuple_

from services.bridge.tracking import archive
from services.bridge.tracking.archive import ChangedMeanwhileError, Deleted, Folder, Note, Portion
from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.schema import job
from services.bridge.webhooks import store as webhooks
from services.kit.clock import Clock
from services.kit.database import leader_lease
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox.files import store
from services.outbox.schema import idempotency

log = structlog.get_logger()

LEASE = "retention"
DAY = 86_400.0
KEEP_KEYS_SECONDS = DAY
PORTION = 200
EVERY_SECONDS = 60.0
LEASE_SECONDS = 120.0
#: The folder of a replica that left a portion unfinished for this long counts as lost.
LOST_SECONDS = DAY
#: Largest share of the time that retention uses while there is much to do.
SHARE = 0.25

#: Takes a connection, ``before`` (seconds since the epoch) and ``most``.
Forget = Callable[..., int]


class Retention:
    """Archives and deletes.

    Args:
        database: of the bridge.
        folder: the archive.
        keep_days: days that finished messages stay in the database; 0: forever.
        owner: unique name of this replica.
        clock: the time.
        metrics: of tracking.
        also: functions that delete a portion of other old rows, by table; each returns the number of rows.
    """

    def __init__(
        self,
        database: Database,
        folder: Folder,
        *,
        keep_days: float,
        owner: str,
        clock: Clock,
        metrics: TrackingMetrics,
        also: Mapping[str, Forget] | None = None,
    ) -> None:
        self._database = database
        self._folder = folder
        self._keep = keep_days * DAY
        self._owner = owner
        self._clock = clock
        self._metrics = metrics
        self._also = {"webhook_call": webhooks.delete_old, **(also or {})}
        self._last_success: float | None = None
        self._stopping = asyncio.Event()
        metrics.retention_age.measure = self.age

    def age(self) -> float | None:
        """Seconds since it last came through, here or in another replica; None before it ever has."""
        return None if self._last_success is None else max(0.0, self._clock.time() - self._last_success)

    async def run(self) -> None:
        """Works until :meth:`stop`; a portion that has begun is finished first."""
        while not self._stopping.is_set():
            try:
                await self.once()
            except (Problem, OSError) as error:
                self._metrics.retention_failures.inc()
                log.warning("retention_waits", error=str(error))
            except Exception:
                self._metrics.retention_failures.inc()
                log.exception("retention_failed")
            await self._sleep(EVERY_SECONDS)

    def stop(self) -> None:
        """Ends :meth:`run` after the present portion."""
        self._stopping.set()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def once(self) -> bool:
        """Archives and deletes everything that is old now; False if another replica does."""
        try:
            if not await self._take():
                return False
            await self._prune_keys()
            await self._sweep_files()
            if self._keep:
                await self._prune_ended()
                with self._folder.held() as place:
                    if await self._recover(place):
                        await self._archive_all(place)
            now = self._clock.time()
            await self._database.write("retention", partial(leader_lease.record_success, name=LEASE, now=now))
        finally:
            self._last_success = await self._database.read(
                "retention_find", partial(leader_lease.last_success, name=LEASE)
            )
        await self._database.write("retention", partial(leader_lease.release, name=LEASE, owner=self._owner))
        return True

    async def _take(self) -> bool:
        take = partial(
            leader_lease.take, name=LEASE, owner=self._owner, now=self._clock.time(), seconds=LEASE_SECONDS
        )
        return await self._database.write("retention", take)

    async def _prune_keys(self) -> None:
        before = self._clock.time() - KEEP_KEYS_SECONDS
        gone = PORTION
        while gone == PORTION:
            gone = await self._database.write("retention", partial(_delete_keys, before=before))
            self._metrics.pruned.labels("idempotency").inc(gone)

    async def _sweep_files(self) -> None:
        """Deletes files that no event names: their events were archived, or none ever used them."""
        before = self._clock.time() - store.UNUSED_SECONDS
        gone = store.SWEEP_PORTION
        while gone == store.SWEEP_PORTION:
            gone = await self._database.write("retention", partial(store.sweep, before=before))
            self._metrics.pruned.labels("file").inc(gone)

    async def _prune_ended(self) -> None:
        before = self._clock.time() - self._keep
        ended = delete(job).where(job.c.finished_at < before)
        gone = await self._database.write("retention", lambda connection: connection.execute(ended).rowcount)
        self._metrics.pruned.labels("job").inc(gone)
        for table, forget in self._also.items():
            gone = PORTION
            while gone == PORTION:
                gone = await self._database.write("retention", partial(forget, before=before, most=PORTION))
                self._metrics.pruned.labels(table).inc(gone)

    async def _recover(self, place: str) -> bool:
        """Undoes unfinished portions; False while another folder has an unfinished one."""
        clear = True
        for row in await self._database.read("retention_find", archive.notes):
            if row["place"] == place:
                await asyncio.to_thread(self._folder.undo, row["file"], row["size_before"])
                log.info("archive_undone", file=row["file"], size=row["size_before"])
            elif row["at"] > self._clock.time() - LOST_SECONDS:
                log.warning("archive_open_elsewhere", file=row["file"])
                clear = False
                continue
            await self._database.write("retention", partial(archive.delete_note, note_id=row["id"]))
        return clear

    async def _archive_all(self, place: str) -> None:
        before = self._clock.time() - self._keep
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            find = partial(archive.old, before=before, most=PORTION)
            portion = await self._database.read("retention_find", find)
            if portion is None or not await self._archive(place, portion):
                return
            # Live traffic has the rest of the time.
            await self._sleep((self._clock.monotonic() - started) * (1 / SHARE - 1))

    async def _archive(self, place: str, portion: Portion) -> bool:
        """Archives one portion; False if another replica has taken over."""
        made = await asyncio.to_thread(self._folder.begin, portion.day)
        begin = partial(_begin, place=place, made=made, owner=self._owner, now=self._clock.time())
        if not await self._database.write("retention", begin):
            return False
        await asyncio.to_thread(self._folder.append, made, portion)
        try:
            remove = partial(_remove, portion=portion, made=made, owner=self._owner)
            deleted = await self._database.write("retention", remove)
        except ChangedMeanwhileError:
            deleted = None
        if deleted is None:
            # Replayed meanwhile, or another replica has the lease: the file is restored.
            await asyncio.to_thread(self._folder.undo, made.file, made.size_before)
            await self._database.write("retention", partial(archive.delete_note, note_id=made.id))
            return await self._take()
        self._count(deleted)
        return True

    def _count(self, deleted: Deleted) -> None:
        self._metrics.archived.inc(deleted.messages)
        for table, rows in (
            ("message", deleted.messages),
            ("attempt", deleted.attempts),
            ("change", deleted.changes),
            ("event", deleted.events),
        ):
            self._metrics.pruned.labels(table).inc(rows)


def _begin(connection: Connection, place: str, made: Note, owner: str, now: float) -> bool:
    """Writes the note of a portion, and renews the lease in the same transaction."""
    if not leader_lease.take(connection, LEASE, owner, now=now, seconds=LEASE_SECONDS):
        return False
    archive.note(connection, place, made, now)
    return True


def _remove(connection: Connection, portion: Portion, made: Note, owner: str) -> Deleted | None:
    """Deletes archived messages; None if another replica has taken over."""
    if not leader_lease.is_held(connection, LEASE, owner):
        return None
    return archive.remove(connection, portion, made.id)


def _delete_keys(connection: Connection, before: float) -> int:
    old = select(idempotency.c.client, idempotency.c.key).where(idempotency.c.created_at < before)
    names = tuple_(idempotency.c.client, idempotency.c.key)
    return connection.execute(delete(idempotency).where(names.in_(old.limit(PORTION)))).rowcount
