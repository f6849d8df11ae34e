"""Calls of the Bot API: python-telegram-bot over our own client.

python-telegram-bot's own HTTP client is several times slower under concurrency, and so is any other
that does more than this takes (docs/performance.md); `BaseRequest` is its seam for another.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import telegram
from telegram.error import NetworkError, TelegramError
from telegram.request import BaseRequest, RequestData
from telegram.request._requestparameter import RequestParameter

from services.kit import client
from services.kit.client import Client
from services.kit.logs import redact

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
