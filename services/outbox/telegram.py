"""Send: python-telegram-bot over our own client, and Telegram's answers translated once.

python-telegram-bot's own HTTP client is several times slower under concurrency, and so is any other
that does more than this takes (docs/performance.md); `BaseRequest` is its seam for another.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self
from urllib.parse import urlsplit

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

from services.kit import client
from services.kit.client import Client
from services.kit.clock import Clock
from services.kit.logs import redact
from services.outbox.messages import Claimed, Document, Lane, Outcome, Reason, Rendered, Result, Text

#: The Bot API server itself waits up to 8 s on flood control before it answers: giving up sooner
#: would send again what is then delivered (telegram.md 0.2).
READ_TIMEOUT_SECONDS = 35.0


class NotReachedError(NetworkError):
    """No request left this machine."""


class NoAnswerError(NetworkError):
    """The request left, or part of it; no answer came."""


#: Told after each call: provider, method, status code or ``none``, seconds.
Count = Callable[[str, str, str, float], None]


class Request(BaseRequest):
    """python-telegram-bot's HTTP seam over :class:`Client`.

    Args:
        api_url: all calls go there.
        connections: at most.
        count: is told of every call.
    """

    def __init__(self, api_url: str, connections: int, count: Count | None = None) -> None:
        self._client = Client(api_url, connections)
        self._count = count
        #: The beginning of each method's request: there are as many as methods.
        self._heads: dict[str, bytes] = {}

    @property
    def read_timeout(self) -> float:
        return READ_TIMEOUT_SECONDS

    async def initialize(self) -> None:
        """Nothing: connections are opened as they are needed."""

    async def shutdown(self) -> None:
        await self._client.close()

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
        connect_timeout: Any = None,  # noqa: ARG002 - the client's
        pool_timeout: Any = None,  # noqa: ARG002 - as many connections as senders
    ) -> tuple[int, bytes]:
        start = time.perf_counter()
        answered = "none"
        seconds = read_timeout if isinstance(read_timeout, int | float) else READ_TIMEOUT_SECONDS
        head, body = self._encoded(url, method, request_data)
        try:
            status, payload = await self._client.ask(head, body, seconds)
            answered = str(status)
        except client.NotReachedError as error:
            raise NotReachedError(redact(str(error))) from error
        except client.NoAnswerError as error:
            raise NoAnswerError(redact(str(error))) from error
        finally:
            if self._count is not None:
                self._count("telegram", url.rpartition("/")[2], answered, time.perf_counter() - start)
        return status, payload

    def _encoded(self, url: str, method: str, data: RequestData | None) -> tuple[bytes, bytes]:
        """The head and the body of a request."""
        if data is None:
            return self._head(url, method), b""
        if not data.contains_files:
            head = self._heads.get(url) or self._heads.setdefault(url, self._head(url, method, _JSON))
            return head, orjson.dumps(data.parameters)
        boundary = secrets.token_hex(16)
        body = b"".join(_form(data, boundary))
        return self._head(url, method, f"multipart/form-data; boundary={boundary}"), body

    def _head(self, url: str, method: str, content_type: str = "") -> bytes:
        return self._client.head(method, urlsplit(url).path, content_type)


_JSON = "application/json"


def _form(data: RequestData, boundary: str) -> Iterator[bytes]:
    """The parts of multipart/form-data (RFC 7578)."""
    for name, value in data.json_parameters.items():
        yield _part_head(boundary, f'name="{name}"')
        yield value.encode()
    for name, (filename, content, mime_type) in (data.multipart_data or {}).items():
        yield _part_head(boundary, f'name="{name}"; filename="{_quoted(filename)}"', mime_type)
        yield content if isinstance(content, bytes) else content.read()
    yield f"\r\n--{boundary}--\r\n".encode()


def _part_head(boundary: str, named: str, content_type: str | None = None) -> bytes:
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    return f"\r\n--{boundary}\r\nContent-Disposition: form-data; {named}{kind}\r\n\r\n".encode()


def _quoted(filename: str) -> str:
    # As browsers do.
    return filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


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
        url = f"{self.base_url}/{method}"
        parameters = [_parameter(name, value) for name, value in data.items()]
        return await self._request[1].post(url, RequestData(parameters), read_timeout=read_timeout)


def _parameter(name: str, value: Any) -> RequestParameter:
    # The base class's own way wraps each value and looks for defaults, at a fifth of the call's cost.
    return (
        RequestParameter.from_input(name, value) if _is_file(value) else RequestParameter(name, value, None)
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
        request=Request(api_url, connections, count),
        get_updates_request=Request(api_url, 1, count),
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
