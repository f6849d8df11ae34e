"""The state of a bot: stopped while Telegram refuses it, so that its messages wait."""

from functools import partial

import structlog
from sqlalchemy import Connection, select, update

from services.kit.database.connect import Database, upsert
from services.outbox.delivery.message_sender import MessageSender
from services.outbox.messages import Reason
from services.outbox.schema import bot

log = structlog.get_logger()

PROBE_SECONDS = 30.0


class BotState:
    """Why one bot is stopped, as its worker knows it.

    Args:
        name: of the bot.
        database: of the queue.
        sender: that may be refused.
    """

    def __init__(self, name: str, *, database: Database, sender: MessageSender) -> None:
        self._name = name
        self._database = database
        self._sender = sender
        #: Why Telegram refuses the bot; None while it works.
        self.stopped: Reason | None = None

    async def load(self) -> None:
        """Reads the state that an earlier run stored."""
        self.stopped = await self._database.read("bot", partial(stopped, name=self._name))

    async def probe(self) -> float:
        """Starts the bot if Telegram accepts it; returns the seconds until the next probe."""
        if isinstance(await self._sender.check(), Reason):
            return PROBE_SECONDS
        await self._database.write("bot", partial(start, name=self._name))
        log.info("bot_started", bot=self._name)
        self.stopped = None
        return 0.0


def stopped(connection: Connection, name: str) -> Reason | None:
    """Why a bot is stopped; None while it works."""
    reason = connection.execute(select(bot.c.stopped).where(bot.c.name == name)).scalar()
    return Reason(reason) if reason else None


def stop(connection: Connection, name: str, reason: Reason) -> None:
    """Stores that a bot is stopped."""
    statement = upsert(connection, bot).values(name=name, stopped=reason.value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[bot.c.name], set_={"stopped": statement.excluded.stopped}
        )
    )


def start(connection: Connection, name: str) -> None:
    """Stores that a bot works again."""
    connection.execute(update(bot).where(bot.c.name == name).values(stopped=None))
