"""Sent files: the file of a response, passed on from Telegram piece by piece, and not stored."""

from collections.abc import Mapping

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from telegram.error import BadRequest, TelegramError

from services.bridge.files import names
from services.bridge.files.file_headers import saving_headers
from services.bridge.updates.responses import SentFile
from services.kit.errors import Problem
from services.kit.logs import redact
from services.outbox.telegram.bot_api import Bot
from services.outbox.telegram.downloads import Download

log = structlog.get_logger()

_TOO_BIG = "file is too big"
_SECONDS_TO_RETRY = 5


async def opened(file: SentFile, bots: Mapping[str, Bot]) -> Download:
    """Opens the file at Telegram.

    Args:
        file: of a response.
        bots: the Bot API clients by the names of the bots.

    Raises:
        Problem: 404, 409 or 502, with Telegram's words.
    """
    bot = bots.get(file.bot)
    if bot is None:
        detail = (
            f"The bot {file.bot!r} received the file, and is not configured any more: configure it again."
        )
        raise Problem(409, "Conflict", detail)
    try:
        return await bot.download(file.telegram_id)
    except TelegramError as error:
        raise _problem(error) from error


def _problem(error: TelegramError) -> Problem:
    words = redact(str(error.message))
    if isinstance(error, BadRequest):
        if _TOO_BIG in words.lower():
            return Problem(
                409,
                "File too large",
                f"Telegram refused: {words}. Its Bot API gives bots files of at most 20 MB: ask the person"
                " for a smaller file, or run a local Bot API server (TELEGRAM_API_URL).",
            )
        return Problem(404, "Not Found", f"Telegram does not give the file: {words}.")
    log.warning("file_not_given", error=words)
    detail = f"Telegram did not give the file: {words}. Try again; if it stays, see the health of the bot."
    return Problem(502, "Bad Gateway", detail, headers={"Retry-After": str(_SECONDS_TO_RETRY)})


def response(file: SentFile, download: Download) -> StreamingResponse:
    """The file as it comes from Telegram; the download ends with the response."""
    name = names.complete(names.safe(file.name or ""), file.media_type)
    return _Passing(download, saving_headers(name, download.size), file.media_type)


class _Passing(StreamingResponse):
    """A response with a download, which ends with it, also if the client leaves before the first piece."""

    def __init__(self, passed: Download, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(passed.pieces(), headers=headers, media_type=media_type)
        self._passed = passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._passed.close()
