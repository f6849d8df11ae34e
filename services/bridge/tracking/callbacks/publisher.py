"""Reads the feed, and writes a call for everybody who wants to know of an ending."""

import asyncio
from functools import partial

import structlog

from services.bridge.tracking.callbacks import store
from services.bridge.tracking.callbacks.store import Program
from services.bridge.webhooks.store import CHANNEL
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox import change_feed

log = structlog.get_logger()

POLL_SECONDS = 1.0
#: After news, so that a busy second is a few readings and not hundreds.
GATHER_SECONDS = 0.1
#: How often the mark is moved while nobody wants to know anything.
IDLE_SECONDS = 5.0


class Publisher:
    """Works until cancelled; any number of replicas may.

    Args:
        database: of the bridge.
        everybody: who is told of every message, or None.
        clock: the time.
    """

    def __init__(self, database: Database, everybody: Program | None, clock: Clock) -> None:
        self._database = database
        self._everybody = everybody
        self._clock = clock
        self._moved_at = -IDLE_SECONDS

    async def run(self) -> None:
        await self._begin()
        while True:
            try:
                if not await self.once():
                    await self._database.wait(change_feed.CHANNEL, POLL_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)
            except Problem as problem:
                log.warning("callbacks_wait", error=str(problem))
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                log.exception("callbacks_failed")
                await asyncio.sleep(POLL_SECONDS)

    async def _begin(self) -> None:
        """Makes the mark, as soon as the database takes it."""
        while True:
            try:
                await self._database.write("callbacks", store.begin)
            except Problem as problem:
                log.warning("callbacks_wait", error=str(problem))
                await asyncio.sleep(POLL_SECONDS)
            else:
                return

    async def once(self) -> bool:
        """Publishes a portion; false where there was nothing to publish."""
        read = partial(store.read, everybody=self._everybody is not None, now=self._clock.time())
        reading = await self._database.read("callbacks_find", read)
        now = self._clock.monotonic()
        if reading.after == reading.before or not (reading.wanted or now > self._moved_at + IDLE_SECONDS):
            return False
        publish = partial(store.publish, reading=reading, everybody=self._everybody, now=self._clock.time())
        written = await self._database.write("callbacks", publish)
        self._moved_at = now
        if written:
            self._database.notify(CHANNEL)
        return reading.wanted
