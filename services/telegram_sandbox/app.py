"""Puts the sandbox together."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI

from services.kit.clock import SystemClock
from services.kit.health import Health, Level, Measurement
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web import service
from services.telegram_sandbox import control, control_chats, history, page, refusals
from services.telegram_sandbox.api import BotApi
from services.telegram_sandbox.bots import Bots
from services.telegram_sandbox.chats import Chats
from services.telegram_sandbox.clock import SandboxClock
from services.telegram_sandbox.faults import Faults
from services.telegram_sandbox.files import Files
from services.telegram_sandbox.journal import Journal
from services.telegram_sandbox.limits import FloodControl
from services.telegram_sandbox.methods import METHODS
from services.telegram_sandbox.metrics import SandboxMetrics
from services.telegram_sandbox.sandbox import Sandbox
from services.telegram_sandbox.settings import SandboxSettings
from services.telegram_sandbox.webhooks import TIMEOUT, WebhookSender

SUMMARY = "A Bot API server that behaves as Telegram does: for the demo, tests, load and fault runs."


class NoKeys:
    """Nothing here wants a bearer key, so none is made."""

    def knows(self, key: str) -> bool:  # noqa: ARG002 # the Keyring's signature
        return False


def create_app(settings: SandboxSettings, clock: SandboxClock | None = None) -> FastAPI:
    """The sandbox as a service; `clock` is another source of time, for tests."""
    telemetry = Telemetry("telegram-sandbox", settings)
    metrics = SandboxMetrics(telemetry.registry, tuple(METHODS))
    sandbox = build(settings, clock or SandboxClock())
    health = Health(SystemClock())
    health.add("log", lambda: _log_health(sandbox), required=True)
    metrics.pending_updates.set_function(lambda: sum(len(bot.queue.pending) for bot in sandbox.bots))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        try:
            history.load(sandbox, settings.sandbox_log_max_bytes)
        except OSError as error:
            raise StartError(f"SANDBOX_LOG_FILE: cannot use {settings.log_file}: {error.strerror}") from error
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            sender = WebhookSender(sandbox, metrics, session)
            sandbox.on_update = sender.wake
            for bot in sandbox.bots:
                sender.wake(bot)
            farewell = asyncio.create_task(_end_waiting(app, sandbox, sender))
            yield {"sandbox": sandbox}
            farewell.cancel()
            await sender.close()
        sandbox.journal.close()

    app = service.create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary=SUMMARY,
        public=[control.router, control_chats.router, page.router],
        keyring=NoKeys(),
    )
    app.state.sandbox = sandbox
    app.middleware_stack = BotApi(page.FrontPage(app.build_middleware_stack()), sandbox, metrics)
    return app


def build(settings: SandboxSettings, clock: SandboxClock) -> Sandbox:
    """The parts of a sandbox, nothing opened yet."""
    return Sandbox(
        clock=clock,
        bots=Bots(settings.tokens, clock.now()),
        chats=Chats(settings.sandbox_messages_kept),
        flood=FloodControl(settings.limits),
        faults=Faults(),
        journal=Journal(settings.log_file, settings.sandbox_log_kept),
        files=Files(settings.folder, settings.sandbox_files_max_bytes),
        first_limits=settings.limits,
    )


async def _end_waiting(app: FastAPI, sandbox: Sandbox, sender: WebhookSender) -> None:
    """When the service stops, end what waits (polls, holds, hangs) instead of letting it use up the grace."""
    stopping: asyncio.Event | None = getattr(app.state, "stopping", None)
    if stopping is None:
        return
    await stopping.wait()
    await sender.close()
    for bot in sandbox.bots:
        sandbox.wake(bot, refusals.Refusal(500, "Internal Server Error: restart"))
    sandbox.clock.release()
    sandbox.journal.release()


async def _log_health(sandbox: Sandbox) -> Measurement:
    journal = sandbox.journal
    measured = {"entries": journal.seq, "chats": len(sandbox.chats), "file": str(journal.path)}
    return Measurement(Level.HEALTHY if journal.is_open else Level.CRITICAL, measured)
