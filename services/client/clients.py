"""The two clients: they take the steps of flows by httpx, one in a thread, one in an event loop."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Self, TypeVar

import httpx

from services.client import connection, exchange, transport
from services.client.api import Api, Asynchronous, Blocking
from services.client.call import Call, Service
from services.client.errors import ClientError
from services.client.retries import Retries
from services.client.site import Site
from services.client.steps import Emit, Flow, GetSite, Head, Iteration, Open, Pause, Read, Step
from services.client.transport import Progress

T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 30.0


class Client(Api, Blocking):
    """The blocking client. Threads may share it; close it at the end.

    Args:
        url: base URL of the bridge; None: found, see :mod:`services.client.connection`.
        key: API key; None: found.
        urls: base URLs of other services; those that are left out are found.
        timeout: seconds without a byte of an answer.
        patience: seconds from the first try within which a failed call is tried again, if that is safe.

    Raises:
        ConfigurationError: the URL, the key or the configuration file cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        urls: Mapping[Service, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.site = _site(url, key, urls, timeout, patience)
        self._http = httpx.Client(
            verify=transport.certificates(self.site.urls.values()), mounts=transport.DIRECT
        )
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections; a pause between two tries ends at once."""
        self._closed.set()
        self._http.close()

    def run(self, work: Call[T] | Flow[T]) -> T:
        """Makes a call, or takes the steps of a flow, and returns the result."""
        with closing(self._take(_with_result(work, self.site))) as items:
            return next(items)

    def iterate(self, work: Iteration[T]) -> Generator[T, None, None]:
        """Takes the steps of an iteration, and yields its items."""
        return self._take(work)

    def _take(self, work: Iteration[T]) -> Generator[T, None, None]:
        progress, answers = Progress(), _Answers(self._http)
        with closing(work), closing(answers):
            while (step := progress.advance(work)) is not None:
                if isinstance(step, Emit):
                    yield step.item
                    continue
                try:
                    progress.result = self._act(step, answers)
                except ClientError as error:
                    progress.error = error

    def _act(self, step: Step, answers: "_Answers") -> Any:
        match step:
            case GetSite():
                return self.site
            case Pause(seconds):
                return self._closed.wait(seconds)
            case Open():
                return answers.open(step)
            case Read():
                return answers.read()
            case Call():
                return self.run(step)


class _Answers:
    """The answer that a flow reads; opening another one closes it."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())
        self._url = ""

    def open(self, step: Open) -> Head:
        self.close()
        with transport.translated(step.url):
            self._response = self._http.send(transport.request(step), stream=True)
        self._parts, self._url = self._response.iter_bytes(), step.url
        return transport.head(self._response)

    def read(self) -> bytes:
        with transport.translated(self._url):
            return next(self._parts, b"")

    def close(self) -> None:
        if self._response is not None:
            self._response.close()


class AsyncClient(Api, Asynchronous):
    """The asynchronous client; arguments and errors are those of :class:`Client`. Close it at the end."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        urls: Mapping[Service, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.site = _site(url, key, urls, timeout, patience)
        self._http = httpx.AsyncClient(
            verify=transport.certificates(self.site.urls.values()), mounts=transport.DIRECT
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def run(self, work: Call[T] | Flow[T]) -> T:
        """Makes a call, or takes the steps of a flow, and returns the result."""
        async with aclosing(self._take(_with_result(work, self.site))) as items:
            return await anext(items)

    def iterate(self, work: Iteration[T]) -> AsyncGenerator[T, None]:
        """Takes the steps of an iteration, and yields its items."""
        return self._take(work)

    async def _take(self, work: Iteration[T]) -> AsyncGenerator[T, None]:
        progress, answers = Progress(), _AsyncAnswers(self._http)
        async with aclosing(answers):
            with closing(work):
                while (step := progress.advance(work)) is not None:
                    if isinstance(step, Emit):
                        yield step.item
                        continue
                    try:
                        progress.result = await self._act(step, answers)
                    except ClientError as error:
                        progress.error = error

    async def _act(self, step: Step, answers: "_AsyncAnswers") -> Any:
        match step:
            case GetSite():
                return self.site
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Open():
                return await answers.open(step)
            case Read():
                return await answers.read()
            case Call():
                return await self.run(step)


class _AsyncAnswers:
    """The same as :class:`_Answers`, in an event loop."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None
        self._url = ""

    async def open(self, step: Open) -> Head:
        await self.aclose()
        with transport.translated(step.url):
            self._response = await self._http.send(transport.request(step), stream=True)
        self._parts, self._url = self._response.aiter_bytes(), step.url
        return transport.head(self._response)

    async def read(self) -> bytes:
        if self._parts is None:
            return b""
        with transport.translated(self._url):
            return await anext(self._parts, b"")

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()


def _site(
    url: str | None, key: str | None, urls: Mapping[Service, str] | None, timeout: float, patience: float
) -> Site:
    found = connection.find(url, key, urls or {})
    return Site(found.urls, found.key, timeout, Retries(patience), time.monotonic, random.random)


def _with_result(work: Call[T] | Flow[T], site: Site) -> Iteration[T]:
    """An iteration whose only item is the result."""
    flow = exchange.perform(work, site) if isinstance(work, Call) else work
    result = yield from flow
    yield Emit(result)
