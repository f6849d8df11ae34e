"""Parses a request's parameters as the Bot API server does: query string, JSON, form or multipart."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from services.kit.web.body_stream import progress_of
from services.telegram_sandbox import errors

INTEGER = re.compile(r"-?[0-9]{1,19}")
TRUE_WORDS = frozenset({"true", "yes", "1"})


@dataclass(frozen=True, slots=True)
class Upload:
    name: str
    mime: str
    data: bytes


@dataclass(slots=True)
class Parameters:
    """Raw values: text from forms, JSON values from JSON bodies."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int | float) else orjson.dumps(value).decode()

    def flag(self, name: str) -> bool:
        return self.text(name).strip().lower() in TRUE_WORDS

    def number(self, name: str, default: int = 0, low: int | None = None, high: int | None = None) -> int:
        """Returns the integer at the start of a text, else 0, clamped to the bounds: TDLib's to_integer."""
        text = self.text(name)
        if not text:
            return default
        found = INTEGER.match(text)
        value = int(found[0]) if found else 0
        if low is not None:
            value = max(low, value)
        return value if high is None else min(high, value)

    def data(self, name: str) -> Any:
        """Returns a decoded JSON value; None if it is absent or no JSON."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return None

    @property
    def chat_id(self) -> int | None:
        """The numeric chat id for filters and the log; None for a @username."""
        text = self.text("chat_id")
        try:
            return int(text)
        except ValueError:
            return None


async def read(scope: Scope, receive: Receive, max_bytes: int) -> Parameters:
    """Parses the request. Values of the body override those of the query string.

    Raises:
        BotApiError: the body is too large, or does not match its content type.
    """
    query = scope["query_string"]
    values: dict[str, Any] = dict(parse_qsl(query.decode("latin-1"))) if query else {}
    kind = _header(scope, b"content-type")
    if kind.startswith("multipart/form-data"):
        return await _multipart(scope, receive, values, max_bytes)
    body = await _body(receive, max_bytes)
    if not body:
        return Parameters(values)
    if kind.startswith("application/json"):
        values.update(_json(body))
    else:
        values.update(_form(body))
    return Parameters(values)


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


async def _body(receive: Receive, max_bytes: int) -> bytes:
    message = await receive()
    body = bytes(message.get("body", b""))
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large()
    return body


def too_large() -> errors.BotApiError:
    return errors.BotApiError(413, "Request Entity Too Large")


def _json(body: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise errors.bad_request("can't parse request: expected a JSON object")
    return values


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError):
        raise errors.bad_request("strings must be encoded in UTF-8") from None


async def _multipart(scope: Scope, receive: Receive, values: dict[str, Any], max_bytes: int) -> Parameters:
    request = Request(scope, _counted(receive, max_bytes, progress_of(scope)))
    files: dict[str, Upload] = {}
    try:
        async with request.form(max_part_size=max_bytes) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    files[name] = Upload(value.filename or name, value.content_type or "", await value.read())
                else:
                    values[name] = value
    except MultiPartException as error:
        raise errors.bad_request(f"can't parse multipart body: {error.message}") from None
    return Parameters(values, files)


def _counted(
    receive: Receive, max_bytes: int, progress: Callable[[], None]
) -> Callable[[], Awaitable[Message]]:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > max_bytes:
            raise too_large()
        # Several uploads of 50 MB at once are more than the server holds of incomplete requests.
        progress()
        return message

    return counted
