"""The chats that get the notifications: those of the settings, else the first chat of the bridge.

The chat is learned from the bridge once and then stored: alerts do not depend on the bridge.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from sqlalchemy import Connection, insert, select

from services.alert_relay.schema import recipient
from services.alert_relay.settings import AlertRelaySettings
from services.client import AsyncClient, ClientError
from services.kit.background import run_in_background, suppress_and_log
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.health import Health, Level, Measurement
from services.kit.web.service import own_key

log = structlog.get_logger()

LEARN_SECONDS = 2.0
_NONE = "no chat is set: set ALERT_CHAT_IDS or TELEGRAM_CHAT_IDS, or choose the first chat of the bridge"


class Recipients:
    """The chats that get the notifications.

    Args:
        settings: of the service.
        database: stores a chat that the bridge named.
    """

    def __init__(self, settings: AlertRelaySettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._chat_ids = settings.recipients

    def known(self) -> tuple[int, ...]:
        """Chat ids, each once; empty: no chat is known yet."""
        return self._chat_ids

    def chat_ids(self) -> tuple[int, ...]:
        """Chat ids, each once.

        Raises:
            Problem: 503, no chat is known yet; Alertmanager sends the webhook again.
        """
        if not self._chat_ids:
            raise Problem(503, "No chat yet", f"{_NONE[0].upper()}{_NONE[1:]}.")
        return self._chat_ids

    @asynccontextmanager
    async def learning(self, health: Health) -> AsyncIterator[None]:
        """While the block runs, learns the chat from the bridge if the settings name none."""
        if self._chat_ids:
            yield
            return
        self._chat_ids = await self._database.read("recipients", _stored)
        health.add("recipients", self._check, every=1.0)
        async with run_in_background(self._learn()):
            yield

    async def _learn(self) -> None:
        key = await asyncio.to_thread(own_key, self._settings)
        async with AsyncClient(self._settings.bridge_url, key, patience=0) as bridge:
            while not self._chat_ids:
                with suppress_and_log("recipients_not_learned"):
                    await self._read(bridge)
                await asyncio.sleep(LEARN_SECONDS)

    async def _read(self, bridge: AsyncClient) -> None:
        try:
            bots = await bridge.bots()
        except ClientError as error:
            # The health of the bridge is shown elsewhere, and this one is unhealthy until it answers.
            log.debug("bridge_not_reached", error=str(error))
            return
        default = bots.items[0].chat_ids if bots.items else []
        if default:
            await self._database.write("recipients", partial(_store, chat_ids=default))
            self._chat_ids = tuple(default)
            log.info("recipients_learned")

    async def _check(self) -> Measurement:
        if self._chat_ids:
            return Measurement(Level.HEALTHY, {"from": "bridge"})
        return Measurement(Level.UNHEALTHY, {"reason": _NONE})


def _stored(connection: Connection) -> tuple[int, ...]:
    return tuple(connection.execute(select(recipient.c.chat_id)).scalars())


def _store(connection: Connection, chat_ids: list[int]) -> None:
    connection.execute(insert(recipient), [{"chat_id": chat_id} for chat_id in dict.fromkeys(chat_ids)])
