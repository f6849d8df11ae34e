"""Fetch: the files that an event names by URL are stored before its first message is sent.

A download that fails for now is retried as a failed send is. One that cannot succeed, or did not for
GIVE_UP_SECONDS, is noted with the event: its messages go out without the file, and say so.
"""

import asyncio
from dataclasses import replace
from functools import partial

import structlog

from services.bridge.files import names
from services.bridge.files.download import Downloader, DownloadError
from services.bridge.metrics import FileMetrics
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.outbox.files import attached, limits
from services.outbox.files.store import StoredFile
from services.outbox.messages import Claimed, EventFile, FileNotReadyError, MediaKind

log = structlog.get_logger()

#: Seconds after which a message goes out without a file that could not be had: the text is worth more.
GIVE_UP_SECONDS = 600.0
#: Downloads at once.
AT_ONCE = 4


class Fetcher:
    """Fetches the files of claimed messages.

    Args:
        downloader: downloads one file.
        database: of the engine.
        metrics: of files.
        clock: the time.
    """

    def __init__(
        self, downloader: Downloader, *, database: Database, metrics: FileMetrics, clock: Clock
    ) -> None:
        self._downloader = downloader
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        #: The messages of one event wait for one download.
        self._locks: dict[str, asyncio.Lock] = {}

    async def prepare(self, message: Claimed) -> Claimed:
        """The message with all its files stored, or noted as missing.

        Raises:
            FileNotReadyError: one could not be had now.
        """
        if not any(one.is_awaited for one in message.files):
            return message
        lock = self._locks.setdefault(message.event_id, asyncio.Lock())
        try:
            async with lock:
                return await self._prepared(message)
        finally:
            if not lock.locked():
                self._locks.pop(message.event_id, None)

    async def _prepared(self, message: Claimed) -> Claimed:
        read = partial(attached.read, event_ids=[message.event_id])
        files = (await self._database.read("file", read)).get(message.event_id, ())
        done = [
            await self._fetched(message, position, one) if one.is_awaited else one
            for position, one in enumerate(files)
        ]
        return replace(message, files=tuple(done))

    async def _fetched(self, message: Claimed, position: int, one: EventFile) -> EventFile:
        try:
            async with self._slots:
                stored = await self._downloader.fetch(one.url or "")
        except DownloadError as error:
            late = self._clock.time() > message.entered_at + GIVE_UP_SECONDS
            if not error.final and not late:
                self._metrics.fetches.labels("retried").inc()
                raise FileNotReadyError(f"{one.filename or 'a file'}: {error}") from None
            self._metrics.fetches.labels("failed").inc()
            log.warning("file_not_fetched", event_id=message.event_id, position=position, error=str(error))
            named = replace(one, filename=one.filename or "a file", failure=str(error))
        else:
            self._metrics.fetches.labels("fetched").inc()
            named = _of_stored(one, stored)
        note = partial(attached.note_fetched, event_id=message.event_id, position=position, fetched=named)
        await self._database.write("file", note)
        return named


def _of_stored(one: EventFile, stored: StoredFile) -> EventFile:
    """The file as it is sent: a photo that Telegram would not take as one is a document."""
    kind = limits.kind_of(one.kind, stored.media_type, stored.size, stored.pixels)
    if limits.refusal(kind, stored.media_type, stored.size, stored.pixels) is not None:
        kind = MediaKind.DOCUMENT
    name = names.complete(one.filename, stored.media_type)
    return replace(
        one, kind=kind, filename=name, file_id=stored.id, size=stored.size, media_type=stored.media_type
    )
