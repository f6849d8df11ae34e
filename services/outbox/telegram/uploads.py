"""Uploads of stored files: streamed from the store, a few at once, and once for a bot where possible."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from telegram.error import BadRequest

from services.outbox.messages import Media
from services.outbox.telegram import answers
from services.outbox.telegram.bot_api import Bot
from services.outbox.telegram.request_body import StoredUpload

#: Uploads at once, of all bots: each has about two MiB of its files in memory.
AT_ONCE = 4
#: Files whose id at Telegram is known; the least recently used is forgotten.
MOST_KNOWN = 1_000
#: In Telegram's description where a file id is not valid (any more).
_WRONG_ID = ("wrong file identifier", "wrong remote file identifier", "file_reference_")

#: Reads a stored file by its id, chunk by chunk.
Read = Callable[[str], AsyncIterator[bytes]]
_Key = tuple[str, str, str]


class Uploads:
    """Calls methods that send stored files.

    A file that Telegram has from an earlier message of the same bot is sent by its id there: the recipients
    of one event share an upload. The ids are in memory only; without one the file is uploaded again.

    Args:
        read: reads stored files.
        at_once: uploads at the same time.
    """

    def __init__(self, read: Read, at_once: int = AT_ONCE) -> None:
        self._read = read
        self._slots = asyncio.Semaphore(at_once)
        self._known: OrderedDict[_Key, str] = OrderedDict()

    async def call(self, bot: Bot, method: str, data: Mapping[str, Any], media: tuple[Media, ...]) -> Any:
        """Calls a method; the :class:`Media` in its parameters are ids, or uploads.

        Args:
            bot: that sends.
            method: such as ``sendPhoto``.
            data: its parameters, with :class:`Media` in place of files.
            media: these, in their order.

        Raises:
            TelegramError: as :meth:`Bot.call`.
            FileGoneError: a file is not stored any more.
        """
        if not self._has_all(bot, media):
            async with self._slots:
                return await self._call(bot, method, data, media)
        return await self._call(bot, method, data, media)

    async def _call(self, bot: Bot, method: str, data: Mapping[str, Any], media: tuple[Media, ...]) -> Any:
        by_id = [one for one in media if _key(bot, one) in self._known]
        try:
            result = await bot.call(method, self._resolved(bot, data))
        except BadRequest as error:
            if not by_id or not _names_wrong_id(error):
                raise
            for one in by_id:
                self._known.pop(_key(bot, one), None)
            result = await bot.call(method, self._resolved(bot, data))
        self._remember(bot, media, result)
        return result

    def _has_all(self, bot: Bot, media: Iterable[Media]) -> bool:
        return all(_key(bot, one) in self._known for one in media)

    def _resolved(self, bot: Bot, data: Mapping[str, Any]) -> dict[str, Any]:
        uploads: dict[str, StoredUpload] = {}

        def file_of(one: Media) -> str:
            known = self._known.get(_key(bot, one))
            if known is not None:
                return known
            name = f"file{len(uploads)}"
            uploads[name] = StoredUpload(one.filename, one.media_type, one.size, self._read(one.file_id))
            return f"attach://{name}"

        made: dict[str, Any] = {}
        for name, value in data.items():
            if isinstance(value, Media):
                made[name] = file_of(value)
            elif name == "media":
                made[name] = [{**one, "media": file_of(one["media"])} for one in value]
            else:
                made[name] = value
        return made | uploads

    def _remember(self, bot: Bot, media: tuple[Media, ...], result: Any) -> None:
        sent = result if isinstance(result, list) else [result]
        for one, message in zip(media, sent, strict=False):
            file_id = answers.file_id_of(message, one.kind.value)
            if file_id is not None:
                self._known[_key(bot, one)] = file_id
                self._known.move_to_end(_key(bot, one))
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def _key(bot: Bot, one: Media) -> _Key:
    # The name too: a file that is sent by id has the name of its upload.
    return bot.token, f"{one.file_id}/{one.filename}", one.kind.value


def _names_wrong_id(error: BadRequest) -> bool:
    lowered = str(error.message).lower()
    return any(part in lowered for part in _WRONG_ID)
