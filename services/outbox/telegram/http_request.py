"""The HTTP client of python-telegram-bot's bot, by aiohttp.

``BaseRequest`` is the library's interface for HTTP clients. Its default, httpx, takes several times the CPU.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout
from telegram.request import BaseRequest, RequestData
from yarl import URL

from services.kit.logs import redact
from services.outbox.telegram.connections import CONNECT_SECONDS, connector, limited_from_connection
from services.outbox.telegram.downloads import Download
from services.outbox.telegram.errors import BadAnswerError, NoAnswerError, NotReachedError
from services.outbox.telegram.proxy import Proxy
from services.outbox.telegram.request_body import Parameters, encoded, unread

#: Longest wait for the whole answer, from when the connection is there. The Bot API server itself holds a
#: request up to 8 s on flood control and then delivers it (telegram.md 0.2): with a short timeout such a
#: message would be sent twice.
READ_TIMEOUT_SECONDS = 35.0
#: Bytes a second: an upload gets as much more time as its files take at this rate.
SLOWEST_UPLOAD = 16_384
#: Largest answer that is read, bytes; reading stops there. Telegram's have a few KiB: a message of 4,096
#: characters with 100 entities, and the one that it replies to.
LARGEST_ANSWER = 1_048_576
#: The same for getUpdates, whose answers have up to 4 MiB.
LARGEST_UPDATES = 8 * 1_048_576

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
        largest_answer: bytes.

    Raises:
        ValueError: ``api_url`` is not an HTTP URL.
    """

    def __init__(
        self,
        api_url: str,
        connections: int,
        count: Count | None = None,
        proxy: Proxy | None = None,
        *,
        largest_answer: int = LARGEST_ANSWER,
    ) -> None:
        self._server = server_of(api_url)
        self._largest_answer = largest_answer
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
        """For the typed methods of the library; :meth:`Bot.call` reads answers by itself."""
        try:
            answer = orjson.loads(payload)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise BadAnswerError("the answer is no JSON object")
        return answer

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
            BadAnswerError: the answer is too large.
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

    async def download(self, url: str, seconds: float = READ_TIMEOUT_SECONDS) -> Download:
        """Opens a file of the server; its content is read piece by piece.

        Raises:
            NotReachedError: nothing left this machine for the server.
            NoAnswerError: the server did not answer.
            BadAnswerError: it answered with something else than the file.
        """
        start = time.perf_counter()
        status = "none"
        timeout = ClientTimeout(total=None, connect=CONNECT_SECONDS)
        try:
            async with limited_from_connection(seconds):
                answer = await self._opened().get(url, timeout=timeout, allow_redirects=False)
            status = str(answer.status)
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswerError(_reason(error, seconds)) from error
        finally:
            if self._count is not None:
                # The path names a file: it is no label.
                self._count("telegram", "download", status, time.perf_counter() - start)
        if answer.status != HTTPStatus.OK:
            answer.close()
            raise BadAnswerError(f"the server answered {answer.status} to the download", refused=True)
        return Download(answer)

    async def _exchange(
        self, method: str, url: str, parameters: "Parameters | None", seconds: float
    ) -> tuple[int, bytes]:
        body, size = encoded(parameters)
        # aiohttp has no limit for writing, and one for reading only from each byte to the next.
        timeout = ClientTimeout(total=None, connect=CONNECT_SECONDS)
        try:
            async with (
                limited_from_connection(seconds + size / SLOWEST_UPLOAD),
                self._opened().request(method, url, **body, timeout=timeout, allow_redirects=False) as answer,
            ):
                return answer.status, await self._read(answer)
        except (aiohttp.ClientError, OSError) as error:
            failure = unread(parameters)
            if failure is not None:
                # The server got less than the Content-Length: it cannot have carried the call out.
                raise NotReachedError(f"the file could not be read: {redact(str(failure))}") from error
            raise NoAnswerError(_reason(error, seconds)) from error

    async def _read(self, answer: ClientResponse) -> bytes:
        pieces, size = [], 0
        async for piece in answer.content.iter_any():
            size += len(piece)
            if size > self._largest_answer:
                # The connection is closed with what was not read.
                raise BadAnswerError(f"the answer is larger than {self._largest_answer} bytes")
            pieces.append(piece)
        return b"".join(pieces)

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


def _reason(error: Exception, seconds: float) -> str:
    """Why no whole answer came, in one line, without the URL, which contains the token."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before the answer was whole"
    text = f"no HTTP: {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return redact(text.partition("\n")[0] or type(error).__name__)
