"""Downloads of attachments by URL: from public addresses only, within limits of size and time.

A client's URL must not reach what only we can reach: each hop is checked as a webhook's URL is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from services.bridge.webhooks.destinations import Destinations, GuardedSockets, NotAllowedError
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import VERSION
from services.outbox.files.store import FileStore, StoredFile

#: Seconds for a whole download, and until its connection is there.
DOWNLOAD_SECONDS = 120.0
CONNECT_SECONDS = 10.0
#: Hops of one download: build servers redirect to their file store.
MOST_REDIRECTS = 5
#: Bytes that are read at once.
PIECE = 65_536
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Statuses that may be others later.
_PASSING = frozenset({408, 425, 429})


class DownloadError(Exception):
    """A file could not be downloaded.

    Args:
        why: for people, without the URL, which may have a secret.
        final: whether a later try cannot succeed.
    """

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


class Downloader:
    """Downloads files into the store.

    Args:
        store: gets them.
        allowed: the addresses that may be called.
        seconds: for one download.
    """

    def __init__(self, store: FileStore, allowed: Destinations, *, seconds: float = DOWNLOAD_SECONDS) -> None:
        self._store = store
        self._allowed = allowed
        self._seconds = seconds

    async def fetch(self, url: str) -> StoredFile:
        """Downloads a file.

        Raises:
            DownloadError: it could not be had.
        """
        try:
            async with asyncio.timeout(self._seconds), _session(self._allowed) as session:
                return await self._follow(session, url)
        except NotAllowedError as error:
            raise DownloadError(str(error.strerror), final=True) from None
        except TimeoutError:
            raise DownloadError(f"it did not arrive within {self._seconds:g} s", final=False) from None
        except aiohttp.ClientConnectorError as error:
            # Its own text has the host, which the URL named; a guarded socket's refusal is in it.
            if isinstance(error.os_error, NotAllowedError):
                raise DownloadError(str(error.os_error.strerror), final=True) from None
            raise DownloadError("its server cannot be reached", final=False) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise DownloadError("its server broke the connection off", final=False) from None
        except Problem as problem:
            raise DownloadError(problem.detail or problem.title, final=problem.status in _FINAL) from None

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> StoredFile:
        for _ in range(MOST_REDIRECTS + 1):
            refusal = self._allowed.refusal(url)
            if refusal:
                raise DownloadError(refusal, final=True)
            async with session.get(url, allow_redirects=False) as answer:
                location = answer.headers.get("Location", "")
                if answer.status not in _REDIRECTS or not location:
                    return await self._stored(answer)
            url = str(URL(url).join(URL(location)))
        raise DownloadError(f"it was redirected more than {MOST_REDIRECTS} times", final=True)

    async def _stored(self, answer: aiohttp.ClientResponse) -> StoredFile:
        status = answer.status
        if status // 100 != 2:  # noqa: PLR2004 - the statuses of success
            passing = status in _PASSING or status >= 500  # noqa: PLR2004 - the server's own failures
            raise DownloadError(f"its server answered {status}", final=not passing)
        size = answer.content_length
        if size is not None and size > self._store.max_bytes:
            raise DownloadError(f"it has {size} bytes, and {self._store.max_bytes} are allowed", final=True)
        return await self._store.write(_pieces(answer))


#: Of the store: too large, empty. A full or unavailable store may take the file later.
_FINAL = frozenset({413, 422})


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for piece in answer.content.iter_chunked(PIECE):
        yield piece


@asynccontextmanager
async def _session(allowed: Destinations) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that connects to allowed addresses only, and has no cookies and no proxy."""
    connector = aiohttp.TCPConnector(socket_factory=GuardedSockets(allowed), force_close=True)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"CCTelegram/{VERSION}", "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield session
