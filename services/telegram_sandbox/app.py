"""Builds the sandbox as a service."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI
from starlette.types import Scope

from services.kit.clock import SystemClock
from services.kit.health import Health, Level, Measurement
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web import service
from services.kit.web.origin import OwnPagesOnly, may_change
from services.kit.web.security_headers import OWN_PAGE, SecurityHeaders
from services.telegram_sandbox import errors
from services.telegram_sandbox.bot_api.methods import METHODS
from services.telegram_sandbox.bot_api.server import BotApi
from services.telegram_sandbox.clock import SandboxClock
from services.telegram_sandbox.control import api as control
from services.telegram_sandbox.control import chats_api
from services.telegram_sandbox.faults import Faults
from services.telegram_sandbox.flood_control import FloodControl
from services.telegram_sandbox.metrics import SandboxMetrics
from services.telegram_sandbox.page import api as page
from services.telegram_sandbox.settings import SandboxSettings
from services.telegram_sandbox.state import restore
from services.telegram_sandbox.state.bots import Bots
from services.telegram_sandbox.state.chats import Chats
from services.telegram_sandbox.state.event_log import EventLog
from services.telegram_sandbox.state.files import Files
from services.telegram_sandbox.state.sandbox import Sandbox
from services.telegram_sandbox.webhook_sender import TIMEOUT, WebhookSender

SUMMARY = "A Bot API server that behaves as Telegram does: for the demo, tests, load and fault runs."


class NoKeys:
    """A keyring without keys: no route of the sandbox needs one."""

    def knows(self, key: str) -> bool:  # noqa: ARG002 # the Keyring's signature
        return False


def create_app(settings: SandboxSettings, clock: SandboxClock | None = None) -> FastAPI:
    """Returns the sandbox as a service; tests pass their own `clock`."""
    telemetry = Telemetry("telegram-sandbox", settings)
    metrics = SandboxMetrics(telemetry.registry, tuple(METHODS))
    sandbox = build(settings, clock or SandboxClock())
    health = Health(SystemClock())
    health.add("log", lambda: _log_health(sandbox), required=True)
    metrics.pending_updates.set_function(lambda: sum(len(bot.queue.pending) for bot in sandbox.bots))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        try:
            restore.load(sandbox, settings.sandbox_log_max_bytes)
        except OSError as error:
            raise StartError(f"SANDBOX_LOG_FILE: cannot use {settings.log_file}: {error.strerror}") from error
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            sender = WebhookSender(sandbox, metrics, session)
            sandbox.on_update = sender.wake
            for bot in sandbox.bots:
                sender.wake(bot)
            release = asyncio.create_task(_release_on_stop(app, sandbox, sender))
            yield {"sandbox": sandbox}
            release.cancel()
            await sender.close()
        sandbox.event_log.close()

    app = service.create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary=SUMMARY,
        public=[control.router, chats_api.router, page.router],
        keyring=NoKeys(),
    )
    app.state.sandbox = sandbox
    pages = SecurityHeaders(page.FrontPage(app.build_middleware_stack()), OWN_PAGE)
    app.middleware_stack = OwnPagesOnly(BotApi(pages, sandbox, metrics), settings.allowed_hosts, _may_change)
    return app


def _may_change(scope: Scope) -> bool:
    """Whether a request may change something: methods of the Bot API may be called with GET, too."""
    return may_change(scope) or scope["path"].startswith(("/bot", "/file/bot"))


def build(settings: SandboxSettings, clock: SandboxClock) -> Sandbox:
    """Returns a sandbox with its parts; no file is opened yet."""
    return Sandbox(
        clock=clock,
        bots=Bots(settings.tokens, clock.now()),
        chats=Chats(settings.sandbox_messages_kept),
        flood=FloodControl(settings.limits),
        faults=Faults(),
        event_log=EventLog(settings.log_file, settings.sandbox_log_kept),
        files=Files(settings.folder, settings.sandbox_files_max_bytes),
        initial_limits=settings.limits,
    )


async def _release_on_stop(app: FastAPI, sandbox: Sandbox, sender: WebhookSender) -> None:
    """Ends long polls, held calls and hangs when the service stops, so that they do not delay it."""
    stopping: asyncio.Event | None = getattr(app.state, "stopping", None)
    if stopping is None:
        return
    await stopping.wait()
    await sender.close()
    for bot in sandbox.bots:
        sandbox.wake(bot, errors.BotApiError(500, "Internal Server Error: restart"))
    sandbox.clock.release()
    sandbox.event_log.release()


async def _log_health(sandbox: Sandbox) -> Measurement:
    event_log = sandbox.event_log
    measured = {"entries": event_log.seq, "chats": len(sandbox.chats), "file": str(event_log.path)}
    return Measurement(Level.HEALTHY if event_log.is_open else Level.CRITICAL, measured)
