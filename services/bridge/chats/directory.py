"""The directory of chats: finds the ids of chats that clients name by a text.

Names are those of the settings in the database. ``@username`` is looked up at Telegram, and remembered for
an hour: behind this point every chat is an integer, by which rates, order and settings are kept.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Connection, select
from telegram.error import BadRequest, Forbidden, TelegramError

from services.bridge.chats import stored
from services.bridge.chats.names import ChatNames, Found, NamedChat
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox.schema import chat
from services.outbox.telegram import values
from services.outbox.telegram.bot_api import Bot
from services.outbox.telegram.errors import retry_after_seconds

#: Names that are remembered; the least recently used one is forgotten first.
MOST_REMEMBERED = 1_000
#: A username can move to another chat: it is looked up again after this time.
REMEMBERED_SECONDS = 3_600.0
#: A chat that Telegram does not know may be created, and Telegram may be reached again.
REFUSED_SECONDS, UNREACHED_SECONDS = 10.0, 2.0
#: Longest wait for Telegram's answer: a client waits as well.
READ_SECONDS = 5.0

#: :meth:`ChatDirectory.find`.
FindChats = Callable[[Collection[NamedChat]], Awaitable[Found]]


class FindPerson(Protocol):
    """Finds the private chat of a person by the username, without the ``@``."""

    def __call__(self, connection: Connection, bot: str, username: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found for a username; `until` by the monotonic clock, and `retry` if it was not reached."""

    found: int | str
    until: float
    retry: float | None = None


class ChatDirectory:
    """Finds chats by name.

    Args:
        database: of the bridge.
        bots: their Bot API clients, by name.
        find_person: looks in what people sent.
        clock: the time.
    """

    def __init__(
        self, database: Database, bots: Mapping[str, Bot], find_person: FindPerson, clock: Clock
    ) -> None:
        self._database = database
        self._bots = bots
        self._find_person = find_person
        self._clock = clock
        self._answers: OrderedDict[NamedChat, _Answer] = OrderedDict()
        self._asking: dict[NamedChat, asyncio.Task[_Answer]] = {}

    async def find(self, wanted: Collection[NamedChat]) -> Found:
        """The id of each chat, or the reason why there is none.

        Raises:
            Problem: 503, Telegram was not reached, so that nothing says which chat a username means.
        """
        found: dict[NamedChat, int | str] = {}
        for bot in {one.bot for one in wanted}:
            names = [one for one in wanted if one.bot == bot and not one.is_username]
            if names:
                known = await self._database.read("chat", partial(_names, bot=bot))
                found |= {one: known.find(one.name) for one in names}
        for one in wanted:
            if one.is_username:
                found[one] = await self._by_username(one)
        return found

    async def _by_username(self, wanted: NamedChat) -> int | str:
        if wanted.bot not in self._bots:  # of a route that was stored before the bot was removed
            return f"no bot is named {wanted.bot}"
        key = NamedChat(wanted.bot, wanted.name.lower())
        answer = self._remembered(key)
        if answer is None:
            # One call for all that wait for the same answer, also if the first of them is cancelled.
            asking = self._asking.get(key)
            if asking is None:
                asking = self._asking[key] = asyncio.create_task(self._ask(key))
                asking.add_done_callback(lambda _: self._asking.pop(key, None))
            answer = await asyncio.shield(asking)
        if answer.retry is not None:
            raise _unreached(wanted.name, answer)
        if isinstance(answer.found, int):
            return answer.found
        # A person's username, which Telegram does not find for a bot; the person may have written just now.
        work = partial(self._find_person, bot=key.bot, username=key.name.removeprefix("@"))
        person = await self._database.read("chat", work)
        return answer.found if person is None else person

    def _remembered(self, key: NamedChat) -> _Answer | None:
        answer = self._answers.get(key)
        if answer is None or self._clock.monotonic() >= answer.until:
            return None
        self._answers.move_to_end(key)
        return answer

    async def _ask(self, key: NamedChat) -> _Answer:
        answer = await self._answer_for(key)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    async def _answer_for(self, key: NamedChat) -> _Answer:
        bot = self._bots[key.bot]
        try:
            answer = await bot.call("getChat", {"chat_id": key.name}, read_timeout=READ_SECONDS)
            return self._answer(values.chat_id(answer["id"]), REMEMBERED_SECONDS)
        except (BadRequest, Forbidden) as error:
            return self._answer(_refusal(str(error.message)), REFUSED_SECONDS)
        except (TelegramError, LookupError, TypeError, ValueError) as error:
            before = self._answers.get(key)
            if before is not None and isinstance(before.found, int) and before.retry is None:
                return self._answer(before.found, UNREACHED_SECONDS)  # the last that is known
            wait = retry_after_seconds(error) if isinstance(error, TelegramError) else None
            return self._answer(_reason(error), UNREACHED_SECONDS, wait or UNREACHED_SECONDS)

    def _answer(self, found: int | str, seconds: float, retry: float | None = None) -> _Answer:
        return _Answer(found, self._clock.monotonic() + seconds, retry)


def _refusal(description: str) -> str:
    return (
        f'Telegram refuses this username to the bot: "{description}"; it is found where it is of a public'
        " group or channel, or of a person who wrote to the bot"
    )


def _reason(error: Exception) -> str:
    return str(error.message) if isinstance(error, TelegramError) else "its answer has no chat"


def _unreached(name: str, answer: _Answer) -> Problem:
    text = (
        f"Telegram was not reached to look up {name}: {answer.found}. Repeat the request, or write the"
        " chat's id."
    )
    headers = {"Retry-After": str(math.ceil(answer.retry or UNREACHED_SECONDS))}
    return Problem(503, "Telegram not reached", text, headers=headers)


def _names(connection: Connection, bot: str) -> ChatNames:
    query = select(chat.c.chat_id, chat.c.settings).where(
        # A group that became a supergroup passed its settings on.
        chat.c.bot == bot,
        chat.c.settings.is_not(None),
        chat.c.migrated_to.is_(None),
    )
    return ChatNames.of(
        (chat_id, stored.read(settings).name) for chat_id, settings in connection.execute(query)
    )
