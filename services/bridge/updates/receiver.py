"""Receives for one bot: one replica at a time by a lease, and from the store, so that nothing is lost.

Whoever has the lease listens to Telegram, stores what it hears, and acts on what is stored. When
it is gone, another goes on from the same rows. In webhook mode every replica stores, one acts.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import orjson
import structlog
from sqlalchemy import Connection
from telegram.error import TelegramError

from services.bridge.approvals import reask
from services.bridge.approvals.approval import TAP_LIFE_SECONDS
from services.bridge.commands.commands import MENU
from services.bridge.updates import store
from services.bridge.updates.processor import Acting, Parts
from services.bridge.updates.source import Updates
from services.kit.errors import Problem
from services.kit.health import Level, Measurement
from services.kit.logs import redact
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.messages import Submission

log = structlog.get_logger()

#: Units of work, for the database's metrics.
OPERATIONS = ("updates", "update_act", "update_lead", "update_heard")
RENEW_SECONDS = 5.0
LOOK_SECONDS = 1.0
FORGET_EVERY_SECONDS = 3_600.0
#: Longer than a poll and its patience together: nothing was heard for more than one poll.
STALE_SECONDS = 90.0
RECENT_CONFLICT_SECONDS = 60.0


class Receiver:
    """See the module.

    Args:
        name: of the bot, as in the engine.
        owner: unique name of this replica.
        allowed: Telegram ids of those who may talk to the bot.
        parts: what it stands on.
    """

    def __init__(self, name: str, owner: str, allowed: frozenset[int], parts: Parts) -> None:
        self._name = name
        self._owner = owner
        self._parts = parts
        self._database = parts.database
        self._clock = parts.clock
        self._acting = Acting(name, allowed, parts)
        self._last_success: float | None = None
        self._written_at: float | None = None
        self._conflict_at: float | None = None
        self._conflicts = 0
        self._first = parts.database.single_process
        self.leading = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Receives for the length of the block; a poll under way ends with it at once."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._acting.close()
            with suppress(Problem):
                step_down = partial(store.step_down, bot=self._name, owner=self._owner)
                await self._database.write("update_lead", step_down)

    async def _run(self) -> None:
        while True:
            try:
                if await self._lead():
                    await self._work()
                else:
                    self._last_success = await self._database.read("updates", self._last_known)
            except Problem as problem:
                log.warning("updates_wait", error=str(problem))
            except Exception:
                log.exception("updates_failed")
            finally:
                self.leading = False
            await asyncio.sleep(LOOK_SECONDS)

    def _last_known(self, connection: Connection) -> float | None:
        return store.last_success(connection, self._name)

    async def _lead(self) -> bool:
        lead = partial(
            store.lead, bot=self._name, owner=self._owner, now=self._clock.time(), alone=self._first
        )
        led = await self._database.write("update_lead", lead)
        self._first = self._first and not led
        return led

    async def _work(self) -> None:
        """Works while the lease holds; the first part that fails ends all of them."""
        self.leading = True
        log.info("receiving", mode=self._parts.source.mode)
        await self._acting.resume()
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._keep_lease(),
                self._parts.source.listen(self._heard, self._conflicted),
                self._acting.run(),
                self._introduce(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks[:3], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_lease(self) -> None:
        """Returns when another has the place."""
        forgotten = float("-inf")
        while await self._lead():
            now = self._clock.time()
            if now - forgotten > FORGET_EVERY_SECONDS:
                forgotten = now
                await self._database.write("updates", partial(store.forget, before=now - store.KEEP_SECONDS))
            await asyncio.sleep(RENEW_SECONDS)
        log.warning("receiving_taken_over")

    async def _introduce(self) -> None:
        """Learns the bot's name and sets its menu; tried until Telegram takes it."""
        menu = [{"command": name, "description": text} for name, text in MENU.items()]
        while True:
            try:
                me = await self._parts.bot.call("getMe", {})
                self._acting.username = me.get("username")
                await self._parts.bot.call("setMyCommands", {"commands": orjson.dumps(menu).decode()})
            except TelegramError as error:
                log.warning("menu_not_set", error=redact(str(error.message)))
                await asyncio.sleep(30)
            else:
                return

    # Hearing

    async def keep(self, updates: Updates) -> None:
        """Stores updates; after it they may be acknowledged."""
        if updates:
            keep = partial(store.keep, bot=self._name, updates=updates, now=self._clock.time())
            for kind in await self._database.write("updates", keep, wake=store.CHANNEL):
                self._parts.metrics.updates.labels(kind).inc()

    async def _heard(self, updates: Updates) -> None:
        await self.keep(updates)
        now = self._clock.time()
        self._last_success = now
        if self._written_at is None or abs(now - self._written_at) >= RENEW_SECONDS:
            again = await self._database.write("update_heard", partial(self._note_heard, now=now))
            self._written_at = now
            if again:
                self._parts.outbox.stored(again, self._clock.time())
                self._database.wake(OUTBOX)

    def _note_heard(self, connection: Connection, now: float) -> list[Submission]:
        """After a silence in which taps died, what is open is asked again: in the same transaction."""
        before = store.heard(connection, self._name, now)
        if before is None or now - before <= TAP_LIFE_SECONDS:
            return []
        again = reask.ask_again(connection, self._name, before, now)
        log.warning("asked_again", silence_seconds=now - before, questions=len(again))
        return again

    def _conflicted(self) -> None:
        self._parts.metrics.conflicts.labels(self._name).inc()
        self._conflicts += 1
        self._conflict_at = self._clock.monotonic()

    # Showing

    def age(self) -> float | None:
        """Seconds since Telegram was last heard; None where it never was."""
        return None if self._last_success is None else max(0.0, self._clock.time() - self._last_success)

    async def check(self) -> Measurement:
        """A health probe."""
        age = self.age()
        conflicted = (
            self._conflict_at is not None
            and self._clock.monotonic() - self._conflict_at < RECENT_CONFLICT_SECONDS
        )
        measured = {
            "mode": self._parts.source.mode,
            "last_success_age_seconds": None if age is None else round(age, 1),
            "conflicts_total": self._conflicts,
            "receiving": self.leading,
        }
        if age is None:
            return Measurement(Level.DEGRADED if conflicted else Level.UNKNOWN, measured)
        if age > TAP_LIFE_SECONDS:
            return Measurement(Level.UNHEALTHY, measured)
        return Measurement(Level.DEGRADED if conflicted or age > STALE_SECONDS else Level.HEALTHY, measured)
