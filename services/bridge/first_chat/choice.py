"""Puts the first chat in force: for bots without chats in the settings, once a person has chosen one."""

import asyncio
import secrets
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import structlog

from services.bridge.bots import DEFAULT, Bot
from services.bridge.first_chat import store
from services.bridge.first_chat.store import Offer
from services.bridge.routes.active_routes import ActiveRoutes
from services.kit.background import run_in_background
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.health import Health, Level, Measurement

log = structlog.get_logger()

PACKAGE = "services.bridge.first_chat"
CHANNEL = "first_chat"
#: The database is read so often until a chat is chosen: another replica may receive the bot's updates.
READ_SECONDS = 1.0
#: Without letters and digits that look alike.
_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_GROUPS, _LETTERS = 3, 4


def new_code() -> str:
    """A code such as ``K7QF-2MXA-9WTD``: 59 random bits, which a link to the bot can carry too."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS)) for _ in range(_GROUPS))
    return "-".join(groups)


class FirstChat:
    """The chat of bots without one in the settings.

    Args:
        bots: all bots, by name; those without chats are replaced when a chat is chosen.
        routes: whose default recipients are replaced.
    """

    def __init__(self, bots: MutableMapping[str, Bot], routes: ActiveRoutes) -> None:
        self._bots = bots
        self._routes = routes
        self._without = [name for name, bot in bots.items() if not bot.chats]
        self._code: str | None = None
        self._username: str | None = None

    @property
    def is_needed(self) -> bool:
        """Whether a bot has no chat in the settings."""
        return bool(self._without)

    @property
    def command(self) -> str | None:
        """What a person writes to the bot to choose the chat; None if no choice is open."""
        return f"/start {self._code}" if self._code else None

    @property
    def link(self) -> str | None:
        """A link that writes the command; None if no choice is open, or the bot's name is not known."""
        return f"https://t.me/{self._username}?start={self._code}" if self._code and self._username else None

    def code(self, bot: str) -> str | None:
        """The code that a person may write to a bot: the default one alone takes it."""
        return self._code if bot == DEFAULT else None

    def allowed(self, bot: str) -> frozenset[int]:
        """Telegram ids of the people who may use a bot."""
        return self._bots[bot].allowed

    def introduce(self, bot: str, username: str | None) -> None:
        """Logs the link, once Telegram has returned the name of the bot."""
        if bot == DEFAULT:
            self._username = username
            if self.link:
                log.warning("first_chat_link", open=self.link)

    async def read(self, database: Database) -> None:
        """Reads the offer, or stores one; puts a chosen chat in force."""
        offer = await database.write("first_chat", partial(store.offer, new_code=new_code()))
        if self._take(offer):
            return
        self._code = offer.code
        why = "TELEGRAM_CHAT_IDS is not set: the chat where this is written to the bot gets the messages"
        log.warning("first_chat_needed", write=self.command, why=why)

    async def follow(self, database: Database) -> None:
        """Reads until a chat is chosen."""
        while self._code is not None:
            await database.wait(CHANNEL, READ_SECONDS)
            try:
                offer = await database.read("first_chat", store.read)
            except Problem as problem:
                log.warning("first_chat_not_read", error=str(problem))
                await asyncio.sleep(READ_SECONDS)
                continue
            if offer is not None and self._take(offer):
                log.info("first_chat_chosen")

    def _take(self, offer: Offer) -> bool:
        if offer.chat_id is None or offer.user_id is None:
            return False
        self._code = None
        for name in self._without:
            bot = self._bots[name]
            allowed = bot.allowed or frozenset({offer.user_id})
            self._bots[name] = replace(bot, chats=(offer.chat_id,), allowed=allowed)
        self._routes.set_recipients({name: bot.chats for name, bot in self._bots.items()})
        return True

    async def check(self) -> Measurement:
        """Health: degraded until a chat is chosen."""
        if self._code is None:
            return Measurement(Level.HEALTHY, {"chosen": True})
        reason = "no chat is set: write the command that the bridge's log shows to the bot"
        return Measurement(Level.DEGRADED, {"chosen": False, "reason": reason})


@asynccontextmanager
async def open_first_chat(choice: FirstChat, database: Database, health: Health) -> AsyncIterator[None]:
    """Waits for the choice while the block runs, if a bot has no chat in the settings."""
    if not choice.is_needed:
        yield
        return
    await choice.read(database)
    health.add("first_chat", choice.check, every=1.0)
    async with run_in_background(choice.follow(database)):
        yield
