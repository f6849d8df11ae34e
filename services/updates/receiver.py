"""Receives the updates of one bot: one replica at a time, by a leader lease.

The leader receives updates from the source, stores them, and processes what is stored; the next leader
goes on from the same rows. In webhook mode every replica stores updates, and the leader processes them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection
from telegram.error import TelegramError

from services.kit.database import leader_lease
from services.kit.errors import Problem
from services.kit.health import Level, Measurement
from services.kit.logs import redact
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.messages import Submission
from services.outbox.telegram import answers
from services.updates.batch import Batch
from services.updates.handler import UpdateHandler
from services.updates.parse import TAP_LIFE_SECONDS
from services.updates.processor import UpdateDependencies, UpdateProcessor
from services.updates.stored_updates import schema, store

log = structlog.get_logger()

#: Packages whose migrations make the tables that a receiver needs, besides those of the outbox.
PACKAGES = (leader_lease.PACKAGE, schema.PACKAGE)
#: After a crash another replica takes over after this; the leader renews the lease long before.
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
RETRY_SECONDS = 1.0
DELETE_INTERVAL_SECONDS = 3_600.0
#: Longer than a poll with its timeout: more than one poll has failed.
STALE_SECONDS = 90.0
RECENT_CONFLICT_SECONDS = 60.0


def lease_name(bot: str) -> str:
    """Name of the leader lease for the updates of a bot."""
    return f"updates:{bot}"


class Receiver:
    """Receives the updates of one bot.

    Args:
        bot: its name.
        owner: unique name of this replica.
        deps: the parts that it uses.
        handler: of the service, for this bot.
    """

    def __init__(
        self, bot: str, owner: str, deps: UpdateDependencies, handler: UpdateHandler[Any, Any]
    ) -> None:
        self._bot = bot
        self._owner = owner
        self._lease = lease_name(bot)
        self._deps = deps
        self._database = deps.database
        self._clock = deps.clock
        self._handler = handler
        self._processor = UpdateProcessor(bot, deps, handler)
        self._last_success: float | None = None
        self._recorded_at: float | None = None
        self._conflict_at: float | None = None
        self._conflicts = 0
        #: With a single process, the lease found at the start belongs to a previous run.
        self._alone = deps.database.single_process
        self.leading = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Receives for the length of the block; its end cancels a poll at once."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._processor.close()
            with suppress(Problem):
                release = partial(leader_lease.release, name=self._lease, owner=self._owner)
                await self._database.write("update_lead", release)

    async def _run(self) -> None:
        while True:
            try:
                if await self._take_lease():
                    await self._lead()
                else:
                    read = partial(leader_lease.last_success, name=self._lease)
                    self._last_success = await self._database.read("updates", read)
            except Problem as problem:
                log.warning("updates_store_unavailable", error=str(problem))
            except Exception:
                log.exception("updates_failed")
            finally:
                self.leading = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _take_lease(self) -> bool:
        take = partial(
            leader_lease.take,
            name=self._lease,
            owner=self._owner,
            now=self._clock.time(),
            seconds=LEASE_SECONDS,
            alone=self._alone,
        )
        taken = await self._database.write("update_lead", take)
        self._alone = self._alone and not taken
        return taken

    async def _lead(self) -> None:
        """Receives and processes while the lease is valid; the first part that ends or fails ends all."""
        self.leading = True
        log.info("updates_leader", bot=self._bot, mode=self._deps.source.mode)
        await self._processor.resume()
        parts = [
            asyncio.create_task(part)
            for part in (
                self._renew_lease(),
                self._deps.source.run(self._on_updates, self._on_conflict),
                self._processor.run(),
            )
        ]
        introduction = asyncio.create_task(self._set_menu())
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*parts, introduction):
                task.cancel()
            await asyncio.gather(*parts, introduction, return_exceptions=True)

    async def _renew_lease(self) -> None:
        """Renews the lease and deletes old updates; returns when another replica has the lease."""
        deleted_at = float("-inf")
        while await self._take_lease():
            now = self._clock.time()
            if now - deleted_at > DELETE_INTERVAL_SECONDS:
                deleted_at = now
                delete = partial(store.delete_handled, before=now - store.RETENTION_SECONDS)
                await self._database.write("updates", delete)
            await asyncio.sleep(RENEW_SECONDS)
        log.warning("updates_lease_lost", bot=self._bot)

    async def _set_menu(self) -> None:
        """Reads the bot's username and sets the handler's menu; retries until Telegram accepts it."""
        menu = [{"command": name, "description": text} for name, text in self._handler.menu.items()]
        while True:
            try:
                me = answers.me_of(await self._deps.bot.call("getMe", {}))
                self._handler.introduce(me.username)
                if menu:
                    await self._deps.bot.call("setMyCommands", {"commands": orjson.dumps(menu).decode()})
            except TelegramError as error:
                log.warning("menu_not_set", error=redact(str(error.message)))
                await asyncio.sleep(30)
            else:
                return

    async def store(self, batch: Batch) -> int:
        """Stores updates; returns after the commit, when they may be acknowledged, how many were new."""
        metrics = self._deps.metrics
        if batch.unreadable:
            metrics.unreadable.inc(batch.unreadable)
            log.warning("updates_unreadable", bot=self._bot, number=batch.unreadable)
        if not batch.updates:
            return 0
        add = partial(store.add, bot=self._bot, updates=batch.updates, now=self._clock.time())
        kinds = await self._database.write("updates", add, notify=store.CHANNEL)
        for kind in kinds:
            metrics.updates.labels(kind).inc()
        return len(kinds)

    async def _on_updates(self, batch: Batch) -> int:
        new = await self.store(batch)
        now = self._clock.time()
        self._last_success = now
        if self._recorded_at is None or abs(now - self._recorded_at) >= RENEW_SECONDS:
            made_up = await self._database.write("update_heard", partial(self._record_success, now=now))
            self._recorded_at = now
            if made_up:
                self._deps.outbox.record_stored(made_up, self._clock.time())
                self._database.notify(OUTBOX)
        return new

    def _record_success(self, connection: Connection, now: float) -> Sequence[Submission]:
        """Stores that Telegram was reached; the handler makes up for an outage that lost taps."""
        before = leader_lease.last_success(connection, self._lease)
        leader_lease.record_success(connection, self._lease, now)
        if before is None or now - before <= TAP_LIFE_SECONDS:
            return ()
        return self._handler.after_outage(connection, before, now)

    def _on_conflict(self) -> None:
        self._deps.metrics.conflicts.labels(self._bot).inc()
        self._conflicts += 1
        self._conflict_at = self._clock.monotonic()

    def last_success_age(self) -> float | None:
        """Seconds since Telegram was last reached, by any replica; None before the first time."""
        return None if self._last_success is None else max(0.0, self._clock.time() - self._last_success)

    async def check(self) -> Measurement:
        """Measures health: old updates are unhealthy, a recent conflict is degraded."""
        age = self.last_success_age()
        conflicted = (
            self._conflict_at is not None
            and self._clock.monotonic() - self._conflict_at < RECENT_CONFLICT_SECONDS
        )
        measured = {
            "mode": self._deps.source.mode,
            "last_success_age_seconds": None if age is None else round(age, 1),
            "conflicts_total": self._conflicts,
            "receiving": self.leading,
        }
        if age is None:
            return Measurement(Level.DEGRADED if conflicted else Level.UNKNOWN, measured)
        if age > TAP_LIFE_SECONDS:
            return Measurement(Level.UNHEALTHY, measured)
        return Measurement(Level.DEGRADED if conflicted or age > STALE_SECONDS else Level.HEALTHY, measured)
