"""Receives what people do with incidents from the bridge, where both services have one bot.

Telegram gives the updates of a bot to one program, the bridge. It stores taps and commands as responses, and
this source reads them as any client does (``GET /api/v1/responses``). They are handled as updates of a bot of
its own: each is stored first, and what is read twice is handled once.
"""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from services.alert_relay.settings import AlertRelaySettings
from services.client import AsyncClient, ClientError
from services.contracts.responses import Response
from services.kit.clock import Clock
from services.kit.web.service import own_key
from services.updates import alert_acts
from services.updates.batch import Batch
from services.updates.command import parse_command
from services.updates.source import OnConflict, OnUpdates

log = structlog.get_logger()

#: Name of the bridge's first bot.
BRIDGE_BOT = "default"
#: Name of the bot in the table of updates: the numbers of responses are no ids of a bot's updates.
BOT = "bridge"
WAIT_SECONDS = 25
RETRY_SECONDS = 2.0
#: After a start, responses of this time are read again. It is shorter than handled updates are kept.
LOOK_BACK = timedelta(days=2)


class HandedOn:
    """A :class:`services.updates.source.Source`: the bridge's responses that are about incidents.

    Args:
        settings: of the service.
        clock: the time.
    """

    mode = "bridge"

    def __init__(self, settings: AlertRelaySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def run(self, on_updates: OnUpdates, on_conflict: OnConflict) -> None:  # noqa: ARG002 - of polling
        """Receives until cancelled; retries while the bridge is away."""
        key = await asyncio.to_thread(own_key, self._settings)
        since = datetime.fromtimestamp(self._clock.time(), UTC) - LOOK_BACK
        cursor, reached = None, True
        async with AsyncClient(self._settings.bridge_url, key, patience=0) as bridge:
            while True:
                try:
                    page = await bridge.responses(
                        since=since, bot=BRIDGE_BOT, cursor=cursor, wait=WAIT_SECONDS
                    )
                except ClientError as error:
                    if reached:
                        log.warning("bridge_not_reached", error=str(error))
                    reached = False
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                reached = True
                updates = tuple(update for each in page.items if (update := update_of(each)) is not None)
                await on_updates(Batch(updates, 0))
                cursor = page.next_cursor


def update_of(response: Response) -> dict[str, Any] | None:
    """Returns a response as an update of the Bot API; None: it is not about incidents."""
    sender = {"id": response.user.id, "is_bot": False, "first_name": response.user.name}
    chat = {"id": response.chat_id, "type": "private" if response.chat_id == response.user.id else "group"}
    message = {"message_id": response.telegram_message_id, "chat": chat}
    if response.kind == "tap" and alert_acts.is_button(response.text):
        # The bridge has answered the tap already.
        query = {"id": "", "from": sender, "data": response.text}
        shown = {"message": message} if response.chat_id and response.telegram_message_id else {}
        return {"update_id": _number(response.id), "callback_query": query | shown}
    command = parse_command(response.text) if response.kind == "command" else None
    if command is not None and command.name in alert_acts.COMMANDS:
        topic = (
            {"message_thread_id": response.thread_id, "is_topic_message": True} if response.thread_id else {}
        )
        return {
            "update_id": _number(response.id),
            "message": message | topic | {"from": sender, "text": response.text},
        }
    return None


def _number(response_id: str) -> int:
    """Returns a number of 63 bits for a response, as an id of an update: the same each time it is read."""
    return int.from_bytes(hashlib.sha256(response_id.encode()).digest()[:8]) >> 1
