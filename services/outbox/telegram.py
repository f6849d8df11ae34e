"""Send: python-telegram-bot over aiohttp, and Telegram's answers translated once into what they mean.

python-telegram-bot's own HTTP client is several times slower under concurrency
(docs/performance.md); `BaseRequest` is its seam for another.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import aiohttp
import orjson
import telegram
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)
from telegram.request import BaseRequest, RequestData
from telegram.request._requestparameter import RequestParameter
from yarl import URL

from services.kit.clock import Clock
from services.kit.logs import redact
from services.outbox.messages import Claimed, Document, Lane, Outcome, Reason, Rendered, Result, Text

#: The Bot API server itself waits up to 8 s on flood control before it answers: giving up sooner
#: would send again what is then delivered (telegram.md 0.2).
READ_TIMEOUT_SECONDS = 35.0
CONNECT_TIMEOUT_SECONDS = 10.0


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=seconds)


_TIMEOUT = _timeout(READ_TIMEOUT_SECONDS)


class NotReachedError(NetworkError):
    """No request left this machine."""


class NoAnswerError(NetworkError):
    """The request left, or part of it; no answer came."""


#: Told after each call: provider, method, status code or ``none``, seconds.
Count = Callable[[str, str, str, float], None]


class AiohttpRequest(BaseRequest):
    """python-telegram-bot's HTTP seam on one aiohttp session."""

    def __init__(self, connections: int, count: Count | None = None) -> None:
        self._connections = connections
        self._count = count
        self._session: aiohttp.ClientSession | None = None
        #: Parsed once: there are as many as methods.
        self._urls: dict[str, URL] = {}

    @property
    def read_timeout(self) -> float:
        return READ_TIMEOUT_SECONDS

    async def initialize(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30),
                timeout=_TIMEOUT,
                # Telegram sets no cookies; looking for them, and naming ourselves, costs a tenth of a call.
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            )

    async def shutdown(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        try:
            return dict(orjson.loads(payload))
        except ValueError as error:
            raise TelegramError("Invalid server response") from error

    async def do_request(  # noqa: PLR0917 - the seam's signature
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = None,
        write_timeout: Any = None,  # noqa: ARG002 - the seam's signature; reading covers both
        connect_timeout: Any = None,  # noqa: ARG002 - the session's
        pool_timeout: Any = None,  # noqa: ARG002 - as many connections as senders
    ) -> tuple[int, bytes]:
        assert self._session is not None  # noqa: S101 - initialize() comes first
        start = time.perf_counter()
        answered = "none"
        seconds = read_timeout if isinstance(read_timeout, int | float) else READ_TIMEOUT_SECONDS
        timeout = _TIMEOUT if seconds == READ_TIMEOUT_SECONDS else _timeout(seconds)
        try:
            async with self._session.request(
                method,
                self._urls.get(url) or self._urls.setdefault(url, URL(url)),
                data=_body(request_data),
                headers=_headers(request_data),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answered = str(response.status)
                return response.status, await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotReachedError(_said(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswerError(_said(error)) from error
        finally:
            if self._count is not None:
                self._count("telegram", url.rpartition("/")[2], answered, time.perf_counter() - start)


def _said(error: Exception) -> str:
    return redact(str(error)) or type(error).__name__


def _body(data: RequestData | None) -> aiohttp.FormData | bytes | None:
    if data is None:
        return None
    if not data.contains_files:
        return orjson.dumps(data.parameters)
    form = aiohttp.FormData()
    for name, value in data.json_parameters.items():
        form.add_field(name, value)
    for name, (filename, content, mime_type) in (data.multipart_data or {}).items():
        form.add_field(name, content, filename=filename, content_type=mime_type)
    return form


def _headers(data: RequestData | None) -> Mapping[str, str] | None:
    return None if data is None or data.contains_files else {"Content-Type": "application/json"}


class Bot(telegram.Bot):
    """A bot whose calls return Telegram's own JSON.

    The typed methods of the base class build and parse objects that the engine does not look at,
    at twice the cost of the call itself.
    """

    async def call(self, method: str, data: dict[str, Any], *, read_timeout: float | None = None) -> Any:
        """Calls a Bot API method.

        Raises:
            TelegramError: python-telegram-bot's own, or the two of this module.
        """
        # The base class's own way wraps each value and looks for defaults, at a fifth of the call's cost.
        files = [RequestParameter.from_input(name, value) for name, value in data.items() if _is_file(value)]
        plain = [RequestParameter(name, value, None) for name, value in data.items() if not _is_file(value)]
        return await self._request[1].post(
            f"{self.base_url}/{method}", RequestData([*plain, *files]), read_timeout=read_timeout
        )


def _is_file(value: object) -> bool:
    return isinstance(value, telegram.InputFile)


def make_bot(token: str, api_url: str, connections: int, count: Count | None = None) -> Bot:
    """A bot at an API server.

    Args:
        token: from BotFather.
        api_url: e.g. ``https://api.telegram.org`` or the sandbox's.
        connections: at most, for calls; polling has one of its own.
        count: is told of every call, e.g. ``Telemetry.count_call``.
    """
    base = f"{api_url.rstrip('/')}/bot"
    return Bot(
        token,
        base_url=base,
        base_file_url=f"{api_url.rstrip('/')}/file/bot",
        request=AiohttpRequest(connections, count),
        get_updates_request=AiohttpRequest(1, count),
    )


class Sender:
    """Sends parts of messages, and says what each attempt came to. Never raises for an answer.

    Args:
        bot: who sends.
        clock: the time.
        pays_for_bulk: whether the bulk lane may exceed Telegram's free rate, for Stars.
    """

    def __init__(self, bot: Bot, clock: Clock, *, pays_for_bulk: bool = False) -> None:
        self.bot = bot
        self._clock = clock
        self._pays_for_bulk = pays_for_bulk

    async def __aenter__(self) -> Self:
        for request in self.bot._request:  # noqa: SLF001 - Bot.initialize() would call getMe and fail where Telegram is down
            await request.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        for request in self.bot._request:  # noqa: SLF001 - as above
            await request.shutdown()

    async def check(self) -> Reason | None:
        """Asks Telegram who the bot is; None when it answers as it should."""
        now = self._clock.time()
        try:
            await self.bot.call("getMe", {}, read_timeout=10.0)
        except TelegramError as error:
            return translate(error, now, now).reason
        return None

    async def send(self, message: Claimed, rendered: Rendered) -> Result:
        """Sends the next part of a message."""
        method, data = request_of(message, rendered)
        if self._pays_for_bulk and message.lane is Lane.BULK and method in PAID_METHODS:
            data["allow_paid_broadcast"] = True
        started = self._clock.time()
        try:
            answer = await self.bot.call(method, data)
            return Result(
                Outcome.SENT, Reason.NONE, started, self._clock.time(), message_id=int(answer["message_id"])
            )
        except (KeyError, TypeError, ValueError):
            detail = "Telegram answered ok without a message id"
            return Result(Outcome.UNKNOWN, Reason.BAD_ANSWER, started, self._clock.time(), detail=detail)
        except TelegramError as error:
            if message.edits is not None and NOT_MODIFIED in str(error.message).lower():
                # An earlier try arrived, whose answer was lost: the text is what it was to become.
                finished = self._clock.time()
                return Result(Outcome.SENT, Reason.NONE, started, finished, message_id=message.edits)
            return translate(error, started, self._clock.time())


def with_room(message: Claimed, rendered: Rendered) -> Claimed:
    """An edit has the room of one message: what needs more is sent as messages of its own."""
    if len(rendered.parts) > 1 or isinstance(rendered.parts[0], Document):
        return replace(message, edits=None)
    return message


def method_of(message: Claimed, rendered: Rendered) -> str:
    """The Bot API method of the next part."""
    if isinstance(rendered.parts[message.part], Document):
        return "sendDocument"
    return "sendMessage" if message.edits is None else "editMessageText"


def request_of(message: Claimed, rendered: Rendered) -> tuple[str, dict[str, Any]]:
    """The Bot API method and its parameters for the next part of a message."""
    part = rendered.parts[message.part]
    if message.edits is not None and isinstance(part, Text):
        return _edit(message, message.edits, part, rendered.reply_markup)
    last = message.part == len(rendered.parts) - 1
    data: dict[str, Any] = {"chat_id": message.chat_id}
    # Topic 1 is "General": naming it is an error (telegram.md 1.1).
    if message.thread_id not in (None, 1):
        data["message_thread_id"] = message.thread_id
    if message.silent:
        data["disable_notification"] = True
    if rendered.reply_to is not None:
        reply = {"message_id": rendered.reply_to, "allow_sending_without_reply": True}
        data["reply_parameters"] = reply
    if last and rendered.reply_markup is not None:
        data["reply_markup"] = rendered.reply_markup
    if isinstance(part, Document):
        file = telegram.InputFile(part.content, filename=part.filename)
        return "sendDocument", data | {"document": file} | _text(part.caption, "caption", plain=message.plain)
    return "sendMessage", data | _text(part, "text", plain=message.plain)


def _edit(
    message: Claimed, target: int, text: Text, reply_markup: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """The text of an earlier message; without a keyboard the one that it had goes."""
    keyboard = reply_markup or {"inline_keyboard": []}
    return "editMessageText", {
        "chat_id": message.chat_id,
        "message_id": target,
        "reply_markup": keyboard,
    } | _text(text, "text", plain=message.plain)


def _text(text: Text, field: str, *, plain: bool) -> dict[str, Any]:
    entities = "entities" if field == "text" else "caption_entities"
    if plain or not text.entities:
        return {field: text.text}
    return {field: text.text, entities: list(text.entities)}


#: Those of ours that may exceed the free rate; an edit may not.
PAID_METHODS = ("sendMessage", "sendDocument")
NOT_MODIFIED = "message is not modified"
#: Telegram's descriptions, in lower case and without the prefix, to what they mean. First match wins.
_DESCRIPTIONS = (
    ("bot was blocked by the user", Reason.BOT_BLOCKED),
    ("user is deactivated", Reason.CHAT_GONE),
    ("group chat was deleted", Reason.CHAT_GONE),
    ("bot was kicked", Reason.CHAT_GONE),
    ("bot is not a member", Reason.CHAT_GONE),
    ("can't initiate conversation", Reason.BOT_BLOCKED),
    ("can't send messages to the bot", Reason.CHAT_GONE),
    ("chat not found", Reason.CHAT_NOT_FOUND),
    ("chat_id is empty", Reason.CHAT_NOT_FOUND),
    ("peer_id_invalid", Reason.CHAT_NOT_FOUND),
    ("message thread not found", Reason.THREAD_NOT_FOUND),
    ("topic_closed", Reason.THREAD_NOT_FOUND),
    ("not enough rights", Reason.NO_RIGHTS),
    ("have no write access", Reason.NO_RIGHTS),
    ("need administrator rights", Reason.NO_RIGHTS),
    ("chat_write_forbidden", Reason.NO_RIGHTS),
    ("can't parse entities", Reason.BAD_MARKUP),
    ("message to edit not found", Reason.CANNOT_EDIT),
    ("no text in the message to edit", Reason.CANNOT_EDIT),
    ("message can't be edited", Reason.CANNOT_EDIT),
    ("no text in the message to edit", Reason.CANNOT_EDIT),
    ("is too long", Reason.TOO_LONG),
    ("frozen_method_invalid", Reason.BOT_FROZEN),
    ("too many requests", Reason.FLOOD_CONTROL),
    ("request entity too large", Reason.TOO_LARGE),
    ("misdirected request", Reason.MISDIRECTED),
)


def translate(error: TelegramError, started: float, finished: float) -> Result:
    """What an error of python-telegram-bot says of the attempt.

    The order matters: BadRequest is a NetworkError there, and a 413 is one too.
    """
    detail = redact(str(error.message))
    outcome, reason = _verdict(error, _meaning(detail))
    return Result(
        outcome,
        reason,
        started,
        finished,
        # The public attribute is whole seconds or a timedelta, by an environment variable, and warns of it.
        retry_after=error._retry_after.total_seconds() if isinstance(error, RetryAfter) else None,  # noqa: SLF001 - as said above
        migrate_to=error.new_chat_id if isinstance(error, ChatMigrated) else None,
        detail=detail,
    )


#: Those whose class says it all. Subclasses before their bases.
_CLASSES: tuple[tuple[type[TelegramError], Outcome, Reason], ...] = (
    (RetryAfter, Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
    (ChatMigrated, Outcome.NOT_SENT, Reason.CHAT_MIGRATED),
    (InvalidToken, Outcome.NOT_SENT, Reason.INVALID_TOKEN),
    (Conflict, Outcome.NOT_SENT, Reason.CONFLICT),
    (NotReachedError, Outcome.NOT_SENT, Reason.CONNECT_FAILED),
    (NoAnswerError, Outcome.UNKNOWN, Reason.NO_ANSWER),
)
#: Those whose description decides, with the reason where it says nothing known.
_DESCRIBED: tuple[tuple[type[TelegramError], Outcome, Reason], ...] = (
    (Forbidden, Outcome.NOT_SENT, Reason.CHAT_GONE),
    (BadRequest, Outcome.NOT_SENT, Reason.BAD_REQUEST),
    (NetworkError, Outcome.UNKNOWN, Reason.SERVER_ERROR),
)


def _verdict(error: TelegramError, said: Reason | None) -> tuple[Outcome, Reason]:
    for kind, outcome, reason in _CLASSES:
        if isinstance(error, kind):
            return outcome, reason
    for kind, outcome, reason in _DESCRIBED:
        if isinstance(error, kind):
            return (outcome, reason) if said is None else (Outcome.NOT_SENT, said)
    return Outcome.UNKNOWN, Reason.BAD_ANSWER


def _meaning(description: str) -> Reason | None:
    lowered = description.lower()
    return next((reason for part, reason in _DESCRIPTIONS if part in lowered), None)
