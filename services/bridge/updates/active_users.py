"""How many people use the bot: counted from what they sent, the same for every replica."""

import asyncio
from functools import partial

from sqlalchemy import Connection, func, select

from services.bridge.updates.metrics import ActiveUsers
from services.bridge.updates.schema import response
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database

DAY = 86_400.0
MONTH_DAYS = 30.0
EVERY_SECONDS = 60.0


class People:
    """See the module.

    Args:
        database: of the bridge.
        active: where the numbers are shown.
        keep_days: how long responses are kept; 0: for ever. A month of which a part is deleted is not told.
        clock: the time.
    """

    def __init__(self, database: Database, active: ActiveUsers, keep_days: float, clock: Clock) -> None:
        self._database = database
        self._active = active
        self._whole_month = not keep_days or keep_days >= MONTH_DAYS
        self._clock = clock

    async def run(self) -> None:
        """Counts until cancelled."""
        while True:
            with suppress_and_log("people_not_counted"):
                await self.once()
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        now = self._clock.time()
        self._active.daily = await self._count(now - DAY)
        if self._whole_month:
            self._active.monthly = await self._count(now - MONTH_DAYS * DAY)

    async def _count(self, since: float) -> int:
        return await self._database.read("updates", partial(active_since, since=since))


def active_since(connection: Connection, since: float) -> int:
    """How many people tapped, wrote or commanded at or after then, seconds since the epoch."""
    people = select(func.count(response.c.user_id.distinct())).where(response.c.at >= since)
    return int(connection.execute(people).scalar_one())
