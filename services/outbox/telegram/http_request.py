"""The HTTP client of python-telegram-bot's bot, by aiohttp.

``BaseRequest`` is the library's interface for HTTP clients. Its default, httpx, takes several times the CPU.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import aiohttp
import orjson
import telegram
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout, FormData
from telegram.error import TelegramError
from telegram.request import BaseRequest, RequestData
from yarl import URL

from services.kit.logs import redact
from services.outbox.telegram.connections import CONNECT_SECONDS, connector
from services.outbox.telegram.errors import NoAnswerError, NotReachedError
from services.outbox.telegram.proxy import Proxy

#: Longest wait for an answer. The Bot API server itself holds a request up to 8 s on flood control and then
#: delivers it (telegram.md 0.2): a short timeout would send such a message twice.
READ_TIMEOUT_SECONDS = 35.0
#: Bytes a second: an upload gets as much more time as its files take at this rate.
SLOWEST_UPLOAD = 16_384
#: Largest answer that is read, bytes. One of getUpdates has up to 4 MiB, others a few KiB.
LARGEST_ANSWER = 8 * 1_048_576

#: Called after each call with provider, method, status code or ``none``, seconds.
Count = Callable[[str, str, str, float], None]


class Request(BaseRequest):
    """The HTTP client of a bot: one pool of connections to one Bot API server.

    It sends no request twice, follows no redirect and stores no cookie.

    Args:
        api_url: the server, ``http://host:port`` or ``https://host``, also with ``user:password@``.
        connections: most connections at once.
        count: called after every call.
        proxy: None: connects directly.

    Raises:
        ValueError: ``api_url`` is not an HTTP URL.
    """

    def __init__(
        self, api_url: str, connections: int, count: Count | None = None, proxy: Proxy | None = None
    ) -> None:
        self._server = server_of(api_url)
        self._connections = connections
        self._count = count
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def read_timeout(self) -> float:
        return READ_TIMEOUT_SECONDS

    async def initialize(self) -> None:
        """Allows calls again after :meth:`shutdown`. Connections are opened when they are needed."""
        self._closed = False

    async def shutdown(self) -> None:
        """Closes all connections. Calls in flight raise NoAnswerError, later ones NotReachedError."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        try:
            return dict(orjson.loads(payload))
        except ValueError as error:
            raise TelegramError("Invalid server response") from error

    async def do_request(  # noqa: PLR0917 - the signature of BaseRequest
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = None,
        write_timeout: Any = None,  # noqa: ARG002 - the size of the files decides
        connect_timeout: Any = None,  # noqa: ARG002 - CONNECT_SECONDS
        pool_timeout: Any = None,  # noqa: ARG002 - CONNECT_SECONDS
    ) -> tuple[int, bytes]:
        """Sends one request and reads its whole answer.

        Returns:
            Status code and body, whatever the status.

        Raises:
            NotReachedError: nothing left this machine for the server.
            NoAnswerError: the request left, or part of it; no whole answer came.
            TelegramError: the answer is too large.
        """
        start = time.perf_counter()
        status = "none"
        seconds = read_timeout if isinstance(read_timeout, int | float) else READ_TIMEOUT_SECONDS
        try:
            code, payload = await self._exchange(method, url, request_data, seconds)
            status = str(code)
        finally:
            if self._count is not None:
                self._count("telegram", url.rpartition("/")[2], status, time.perf_counter() - start)
        return code, payload

    async def _exchange(
        self, method: str, url: str, parameters: "Parameters | None", seconds: float
    ) -> tuple[int, bytes]:
        body, size = _encoded(parameters)
        answer_seconds = seconds + size / SLOWEST_UPLOAD
        timeout = ClientTimeout(
            # aiohttp has no timeout for writing: the total ends an upload that is stuck.
            total=CONNECT_SECONDS + answer_seconds,
            connect=CONNECT_SECONDS,
            sock_read=answer_seconds,
        )
        try:
            async with self._opened().request(
                method, url, **body, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer.status, await _read(answer)
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswerError(_reason(error, seconds)) from error

    def _opened(self) -> aiohttp.ClientSession:
        """The session, created by the first call, since it needs the running event loop."""
        if self._closed:
            raise NotReachedError("the bot was shut down")
        if self._session is None:
            user = self._server.user
            credentials = aiohttp.encode_basic_auth(user, self._server.password or "") if user else ""
            self._session = aiohttp.ClientSession(
                connector=connector(self._server, self._connections, self._proxy),
                headers={"Authorization": credentials} if credentials else None,
                cookie_jar=aiohttp.DummyCookieJar(),
                json_serialize_bytes=orjson.dumps,
                middlewares=(_sent_once,),
                trust_env=False,
            )
        return self._session


def server_of(api_url: str) -> URL:
    """Parses the address of a Bot API server.

    Raises:
        ValueError: it is not an HTTP URL; a password in it is not repeated.
    """
    try:
        server = URL(api_url)
    except ValueError:
        server = URL()
    if server.scheme not in {"http", "https"} or not server.host:
        raise ValueError(f"a Bot API server is http://host or https://host, not {redact(api_url)!r}")
    return server


async def _sent_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Prevents a second try: aiohttp repeats a GET after these two of its errors, and after no other."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise NoAnswerError(_reason(error, 0)) from error


async def _read(answer: ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise TelegramError(f"the answer is larger than {LARGEST_ANSWER} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _reason(error: Exception, seconds: float) -> str:
    """Why no whole answer came, in one line, without the URL, which contains the token."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before the answer was whole"
    text = f"no HTTP: {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return redact(text.partition("\n")[0] or type(error).__name__)


class Parameters(Protocol):
    """Parameters of a call: the public attributes of ``RequestData`` that :class:`Request` reads."""

    @property
    def contains_files(self) -> bool: ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON values by name."""

    @property
    def multipart_data(self) -> Mapping[str, tuple[str, Any, str]]:
        """Files by name of the parameter: file name, content, MIME type."""


@dataclass(frozen=True, slots=True)
class CallParameters:
    """Parameters of :meth:`Bot.call`. ``RequestData`` itself takes private objects of the library."""

    parameters: Mapping[str, Any]
    multipart_data: Mapping[str, tuple[str, Any, str]]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "CallParameters":
        """Separates files (:class:`telegram.InputFile`) from JSON values; None values are left out."""
        files = {
            name: value.field_tuple for name, value in values.items() if isinstance(value, telegram.InputFile)
        }
        others = {name: value for name, value in values.items() if value is not None and name not in files}
        return cls(others, files)

    @property
    def contains_files(self) -> bool:
        return bool(self.multipart_data)


def _encoded(data: Parameters | None) -> tuple[dict[str, Any], int]:
    """The arguments of aiohttp for the body, and the size of its files in bytes."""
    if data is None:
        return {}, 0
    if not data.contains_files:
        return {"json": data.parameters}, 0
    # The Bot API server reads filename="…" alone, in UTF-8 with backslashes; filename*= it ignores.
    form = FormData(quote_fields=False)
    for name, value in data.parameters.items():
        form.add_field(name, value if isinstance(value, str) else orjson.dumps(value).decode())
    size = 0
    for name, (filename, content, mime_type) in data.multipart_data.items():
        whole = content if isinstance(content, bytes) else content.read()
        # As a stream, which aiohttp sends in pieces: a large write at once would block the event loop.
        form.add_field(name, BytesIO(whole), filename=filename, content_type=mime_type)
        size += len(whole)
    return {"data": form}, size
