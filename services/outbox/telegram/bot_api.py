"""Calls of the Bot API by the bot of python-telegram-bot."""

from collections.abc import Mapping
from typing import Any, cast

import telegram
from telegram.request import RequestData

from services.outbox.telegram import answers, downloads
from services.outbox.telegram.downloads import Download
from services.outbox.telegram.http_request import LARGEST_UPDATES, Count, Request, server_of
from services.outbox.telegram.proxy import Proxy
from services.outbox.telegram.request_body import CallParameters

#: Most downloads of a bot at once.
DOWNLOADS = 4


class Bot(telegram.Bot):
    """A bot whose :meth:`call` returns Telegram's JSON.

    The typed methods of the base class also work. They build objects that the engine does not need, at
    twice the cost of the call.

    Args:
        token: from BotFather.
        api_url: the Bot API server.
        calls: HTTP client of all methods but ``getUpdates``.
        polls: HTTP client of ``getUpdates``, which takes up to a minute.
        files: HTTP client of downloads, which last as long as their readers take.
    """

    def __init__(self, token: str, api_url: str, calls: Request, polls: Request, files: Request) -> None:
        server = str(server_of(api_url).with_user(None)).rstrip("/")
        super().__init__(
            token,
            base_url=f"{server}/bot",
            base_file_url=f"{server}/file/bot",
            request=calls,
            get_updates_request=polls,
        )
        self._calls = calls
        self._polls = polls
        self._files = files

    async def initialize(self) -> None:
        """Opens the HTTP clients. The base class also calls getMe, which fails while Telegram is down."""
        await self._calls.initialize()
        await self._polls.initialize()
        await self._files.initialize()

    async def shutdown(self) -> None:
        """Closes the HTTP clients."""
        await self._calls.shutdown()
        await self._polls.shutdown()
        await self._files.shutdown()

    async def call(self, method: str, data: Mapping[str, Any], *, read_timeout: float | None = None) -> Any:
        """Calls a Bot API method.

        Args:
            method: such as ``sendMessage``.
            data: its parameters; a :class:`telegram.InputFile` is uploaded.
            read_timeout: longest wait for the whole answer, seconds; None: READ_TIMEOUT_SECONDS.

        Returns:
            The ``result`` of Telegram's answer, JSON of any shape: :mod:`services.outbox.telegram.answers`
            has functions that read it.

        Raises:
            TelegramError: as :meth:`exchange` and :func:`services.outbox.telegram.answers.result_of`.
        """
        return answers.result_of(*await self.exchange(method, data, read_timeout=read_timeout))

    async def exchange(
        self, method: str, data: Mapping[str, Any], *, read_timeout: float | None = None
    ) -> tuple[int, bytes]:
        """Calls a Bot API method; returns the status and the body of the answer, whatever they are.

        Args:
            method: such as ``getUpdates``.
            data: its parameters.
            read_timeout: longest wait for the whole answer, seconds; None: READ_TIMEOUT_SECONDS.

        Raises:
            NotReachedError: nothing left this machine for the server.
            NoAnswerError: the request left, or part of it; no whole answer came.
            BadAnswerError: the answer is too large.
        """
        request = self._polls if method == "getUpdates" else self._calls
        parameters = cast("RequestData", CallParameters.of(data))
        return await request.do_request(f"{self.base_url}/{method}", "POST", parameters, read_timeout)

    async def download(self, file_id: str) -> Download:
        """Opens a file that a person sent to this bot.

        Args:
            file_id: as Telegram gave it to this bot.

        Raises:
            TelegramError: as :meth:`call`, for getFile and for the download.
        """
        path = downloads.path_of(await self.call("getFile", {"file_id": file_id}))
        return await self._files.download(f"{self.base_file_url}/{path}")


def make_bot(
    token: str,
    api_url: str,
    connections: int,
    count: Count | None = None,
    proxy: Proxy | None = None,
) -> Bot:
    """A bot at an API server.

    Args:
        token: from BotFather.
        api_url: e.g. ``https://api.telegram.org`` or the sandbox's.
        connections: most connections at once; ``getUpdates`` and downloads have others.
        count: called after every call, e.g. ``Telemetry.count_call``.
        proxy: None: connects directly.
    """
    calls = Request(api_url, connections, count, proxy)
    polls = Request(api_url, 1, count, proxy, largest_answer=LARGEST_UPDATES)
    files = Request(api_url, DOWNLOADS, count, proxy)
    return Bot(token, api_url, calls, polls, files)
