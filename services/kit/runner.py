"""Runs services under uvicorn until SIGINT or SIGTERM: one in a container, all of them in the suite.

Signals, ports and start errors of all services are handled here.
"""

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit import logs
from services.kit.background import run_in_background
from services.kit.settings import ServiceSettings, StartError, load
from services.kit.web.connections import Connections, Wait, most_connections
from services.kit.web.server import Server

log = structlog.get_logger()
S = TypeVar("S", bound=ServiceSettings)

#: Allocations between two runs of the garbage collector. Python's default of 700 is one batch of messages.
GC_THRESHOLD = 20_000
#: The server closes connections that were idle for this long. Longer than clients keep them: a request that
#: arrives just when the server closes its connection gets no answer. Uvicorn's default is 5 s, as httpx's.
KEEP_ALIVE_SECONDS = 75
#: A client may take so long to read a response, or to complete the closing of its connection.
UNREAD_SECONDS = 30
CLOSING_SECONDS = 10


@dataclass
class Running:
    """A service with its app, its bound socket, and events that say when it has started and is to stop."""

    app: FastAPI
    settings: ServiceSettings
    listener: socket.socket
    started: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.app.title.removeprefix("CCTelegram ")

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def bind(settings: ServiceSettings, name: str) -> socket.socket:
    """Binds the service's socket, before anything else is opened.

    Args:
        settings: host and port.
        name: of the service, for the error.

    Raises:
        StartError: the address is not available, or the port is in use or not allowed.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise _cannot_listen(settings, name, error) from error
    listener.setblocking(False)
    return listener


def _cannot_listen(settings: ServiceSettings, name: str, error: OSError) -> StartError:
    wrong_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    field = "host" if wrong_host else "port"
    variable = str(type(settings).model_fields[field].validation_alias or field).upper()
    address = f"{settings.host}:{settings.port}"
    return StartError(f"{variable}: {name} cannot listen on {address}: {error.strerror}")


def prepare(create_app: Callable[..., FastAPI], settings: ServiceSettings, **shared: object) -> Running:
    """Builds the app and binds its port; nothing runs yet.

    Args:
        create_app: builds the service's app from its settings and the shared objects.
        settings: of the service.
        shared: objects that the services of one process share.
    """
    listener = bind(settings, create_app.__module__.removeprefix("services.").partition(".")[0])
    try:
        return Running(create_app(settings, **shared), settings, listener)
    except BaseException:
        listener.close()
        raise


class _WithState:
    """Puts the lifespan's state into every request, which uvicorn does only if it runs the lifespan.

    The lifespan runs here, so that a start error is one readable line and not uvicorn's traceback.
    """

    def __init__(self, app: ASGIApp, state: dict[str, object]) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = self._state.copy()
        await self._app(scope, receive, send)


def connections_of(settings: ServiceSettings) -> Connections:
    """The limits of the connections of this process."""
    limits = {
        Wait.IDLE: KEEP_ALIVE_SECONDS,
        Wait.HEAD: settings.request_head_seconds,
        Wait.BODY: settings.request_body_seconds,
        Wait.UNREAD: UNREAD_SECONDS,
        Wait.CLOSING: CLOSING_SECONDS,
    }
    return Connections(settings.max_connections or most_connections(), limits)


async def run(service: Running, connections: Connections) -> None:
    """Runs one service until its stop event, then finishes what is in flight."""
    logs.service_name.set(service.name)
    service.app.state.stopping = service.stop
    with closing(service.listener):
        await _run_lifespan(service, connections)
    log.info("stopped")


async def _run_lifespan(service: Running, connections: Connections) -> None:
    async with service.app.router.lifespan_context(service.app) as state:
        config = uvicorn.Config(
            _WithState(service.app, dict(state or {})),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the app reads them, from the proxies of its settings
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws_max_size=service.settings.max_body_bytes,
            timeout_graceful_shutdown=int(service.settings.shutdown_grace_seconds),
        )
        server = Server(config, service.stop, connections, service.app.state.connection_metrics)
        service.app.state.connections = lambda: len(server.server_state.connections)
        _listen(service)
        service.started.set()
        log.info("started", url=service.url)
        await server.serve(sockets=[service.listener])


def _listen(service: Running) -> None:
    """Starts to listen: from now on a connection waits for the server and is not refused."""
    try:
        service.listener.listen(2048)
    except OSError as error:  # two sockets can be bound to one address until one of them listens
        raise _cannot_listen(service.settings, service.name, error) from error


async def serve(services: Sequence[Running], on_started: Callable[[], None] = lambda: None) -> None:
    """Runs services until SIGINT or SIGTERM; then stops them in reverse order, each with its grace period.

    Args:
        services: started in this order, one or more.
        on_started: called once all have started.

    Raises:
        StartError: a service could not start; the others were stopped.
    """
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop_requested.set)
    connections = connections_of(services[0].settings)
    tasks: list[asyncio.Task[None]] = []
    async with run_in_background(connections.sweep()):
        try:
            for service in services:
                task = asyncio.create_task(run(service, connections))
                tasks.append(task)
                await _wait_for(asyncio.create_task(service.started.wait()), *tasks)
            _freeze_start_objects()
            on_started()
            await _wait_for(asyncio.create_task(stop_requested.wait()), *tasks)
        finally:
            for service in services[len(tasks) :]:
                service.listener.close()
            # The failure of one service does not prevent the orderly stop of the others.
            ended = [await _stop(*pair) for pair in reversed(list(zip(services, tasks, strict=False)))]
    for error in ended:
        if error is not None:
            raise error


def _freeze_start_objects() -> None:
    """Exempts what the start created from garbage collection, a tenth of a busy service's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


async def _stop(service: Running, task: "asyncio.Task[None]") -> BaseException | None:
    service.stop.set()
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()


async def _wait_for(event: "asyncio.Task[bool]", *services: "asyncio.Task[None]") -> None:
    """Waits for an event; the error of a service that ends before is raised here."""
    await asyncio.wait({event, *services}, return_when=asyncio.FIRST_COMPLETED)
    event.cancel()
    for task in services:
        if task.done():
            task.result()


@asynccontextmanager
async def running(create_app: Callable[[S], FastAPI], settings: S) -> AsyncIterator[Running]:
    """Runs a service for the length of a block, for tests and tools."""
    service = prepare(create_app, settings)
    connections = connections_of(settings)
    async with run_in_background(connections.sweep()):
        task = asyncio.create_task(run(service, connections))
        try:
            await _wait_for(asyncio.create_task(service.started.wait()), task)
            yield service
        finally:
            service.stop.set()
            await task


def keep_files_private() -> None:
    """Makes files of this process, which contain people's messages, readable by its user alone."""
    os.umask(0o077)


def main(create_app: Callable[[S], FastAPI], settings_class: Callable[[], S]) -> None:
    """The entry point of ``python -m services.<package>``."""
    keep_files_private()
    try:
        settings = load(settings_class)
        logs.configure(settings.log_level)
        uvloop.run(_serve_one(create_app, settings))
    except StartError as error:
        fail(error)


async def _serve_one(create_app: Callable[[S], FastAPI], settings: S) -> None:
    await serve([prepare(create_app, settings)])


def fail(error: StartError) -> NoReturn:
    """Prints one line for each cause and exits with code 1."""
    for line in str(error).splitlines():
        print(f"cannot start: {line}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
    raise SystemExit(1)
