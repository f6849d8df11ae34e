"""The targets that get the notifications: those of the settings, else the first chat of the bridge.

The chat is learned from the bridge once and then stored: alerts do not depend on the bridge.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial

import structlog
from sqlalchemy import Connection, insert, select

from services.alert_relay.channels.target import Target
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
    """The targets that get the notifications.

    Args:
        settings: of the service.
        database: stores a chat that the bridge named.
        further: targets of escalation policies.
    """

    def __init__(
        self, settings: AlertRelaySettings, database: Database, further: Collection[Target] = ()
    ) -> None:
        self._further = further
        self._settings = settings
        self._database = database
        self._chat_ids = settings.recipients
        #: Targets whose messages cannot be edited, though others of their channel can.
        self.without_edits = frozenset(
            each for each in settings.channels.named if not settings.channels.edits(each)
        )

    def known_chats(self) -> tuple[int, ...]:
        """Ids of the chats of Telegram, each once; empty: none is known yet."""
        settings = self._settings
        named = (*settings.alert_targets, *settings.alert_fallback_targets, *self._further)
        further = (each.chat[0] for each in named if each.chat is not None)
        return tuple(dict.fromkeys((*self._chat_ids, *further)))

    def known(self) -> tuple[Target, ...]:
        """The targets, each once; empty: none is known yet."""
        chats = (Target.telegram(chat_id) for chat_id in self._chat_ids)
        return tuple(dict.fromkeys((*chats, *self._settings.alert_targets)))

    def targets(self) -> tuple[Target, ...]:
        """The targets, each once.

        Raises:
            Problem: 503, none is known yet; Alertmanager sends the webhook again.
        """
        found = self.known()
        if not found:
            raise Problem(503, "No chat yet", f"{_NONE[0].upper()}{_NONE[1:]}.")
        return found

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
        if self._settings.alert_targets:
            return Measurement(Level.HEALTHY, {"from": "ALERT_TARGETS"})
        return Measurement(Level.UNHEALTHY, {"reason": _NONE})


def _stored(connection: Connection) -> tuple[int, ...]:
    return tuple(connection.execute(select(recipient.c.chat_id)).scalars())


def _store(connection: Connection, chat_ids: list[int]) -> None:
    connection.execute(insert(recipient), [{"chat_id": chat_id} for chat_id in dict.fromkeys(chat_ids)])
