"""Active users: counts the people who used the bots in the stored responses, which all replicas share."""

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
INTERVAL_SECONDS = 60.0


class ActiveUserCounter:
    """Counts active users each minute.

    Args:
        database: of the bridge.
        active: the metric to set.
        retention_days: how long responses are stored, 0: without limit. With less than 30 days there is
            no number for the month.
        clock: source of the time.
    """

    def __init__(self, database: Database, active: ActiveUsers, retention_days: float, clock: Clock) -> None:
        self._database = database
        self._active = active
        self._whole_month = not retention_days or retention_days >= MONTH_DAYS
        self._clock = clock

    async def run(self) -> None:
        """Counts until cancelled."""
        while True:
            with suppress_and_log("active_users_not_counted"):
                await self.count()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def count(self) -> None:
        """Counts once and sets the metric."""
        now = self._clock.time()
        self._active.daily = await self._count_since(now - DAY)
        if self._whole_month:
            self._active.monthly = await self._count_since(now - MONTH_DAYS * DAY)

    async def _count_since(self, since: float) -> int:
        return await self._database.read("updates", partial(users_since, since=since))


def users_since(connection: Connection, since: float) -> int:
    """How many people sent a response at or after a time, seconds since the epoch."""
    users = select(func.count(response.c.user_id.distinct())).where(response.c.at >= since)
    return int(connection.execute(users).scalar_one())
