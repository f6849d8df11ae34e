"""The other services as far as the dashboard asks them: a real HTTP server that says what a test tells it."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.kit.clock import rfc3339

KEY = "cct_the-key-of-these-tests-only"
PASSWORD = "correct horse battery"
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def healthy(**components: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "healthy",
        "timestamp": rfc3339(START),
        "version": "0.1.0",
        "components": components,
        "metrics": {"uptime_seconds": 86_400.0},
    }


@dataclass
class Suite:
    """Bridge under ``/bridge``, mcp-health under ``/mcp``, alert-relay under ``/relay``."""

    url: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    lives: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    health: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    #: answers that stand in for the usual ones, by path
    instead: dict[str, Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        checked = rfc3339(START)
        self.stats = {
            "accepted_total": 0,
            "delivered_total": 0,
            "failed_total": 0,
            "retries_total": 0,
            "dead_letters_total": 0,
            "unknown_total": 0,
            "queue": {"queued": 0, "sending": 0, "retry_wait": 0},
            "oldest_message_age_seconds": None,
            "rates": {"accepted_per_second": 0.0, "delivered_per_second": 0.0},
            "delivery_rate_percent": None,
            "latency_seconds": None,
            "active_correlations": 0,
        }
        api = {"status": "healthy", "response_time_ms": 45, "last_check": checked}
        queue = {"status": "healthy", "queue_depth": 0, "last_check": checked}
        self.checks = [
            {"id": "bridge", "status": "healthy", "duration_ms": 3.0, "last_check": checked, "evidence": {}}
        ]
        self.health = {
            "bridge": healthy(telegram_api=api, message_queue=queue),
            "mcp": healthy() | {"services": {"bridge": {"status": "healthy", "last_check": checked}}},
            "relay": healthy(database={"status": "healthy", "last_check": checked}),
        }

    def accept(self, title: str, **fields: Any) -> str:
        """An event comes in."""
        number = len(self.messages) + 1
        message_id = f"0199-{number:04d}"
        message = {
            "id": message_id,
            "event_id": f"event-{number}",
            "type": "task_completion",
            "title": title,
            "chat_id": 1001,
            "status": "queued",
            "accepted_at": rfc3339(START + number),
            "finished_at": None,
            "attempts": 0,
            "correlation_id": f"run-{number}",
            "trace_id": f"{number:032x}",
            "telegram_message_ids": [],
            "last_error": None,
        } | fields
        self.messages.insert(0, message)
        queued = {"at": message["accepted_at"], "state": "queued", "cause": "accepted"}
        self.lives[message_id] = message | {"events": [queued], "attempts": []}
        self.stats["accepted_total"] += 1
        self.stats["queue"]["queued"] += 1
        return message_id

    def deliver(self, message_id: str) -> None:
        """Telegram takes it at the first attempt, 0.12 s after it was accepted."""
        life = self.lives[message_id]
        message = next(each for each in self.messages if each["id"] == message_id)
        number = int(message_id[-4:])
        accepted, finished = START + number, START + number + 0.12
        told = {
            "status": "delivered",
            "finished_at": rfc3339(finished),
            "telegram_message_ids": [7],
        }
        message.update(told, attempts=1)
        life.update(told)
        life["events"] += [
            {"at": rfc3339(accepted + 0.01), "state": "sending", "cause": "attempt 1"},
            {"at": rfc3339(finished), "state": "delivered", "cause": "attempt 1: sent"},
        ]
        life["attempts"] = [
            {
                "number": 1,
                "started_at": rfc3339(accepted + 0.06),
                "duration_ms": 60.0,
                "outcome": "sent",
                "reason": "none",
                "detail": None,
                "limiter_wait_ms": 41.0,
                "telegram_message_id": 7,
            }
        ]
        self.stats["delivered_total"] += 1
        self.stats["queue"]["queued"] -= 1
        self.stats["delivery_rate_percent"] = 100.0
        self.stats["latency_seconds"] = {"p50": 0.12, "p95": 0.12, "p99": 0.12}

    def app(self) -> Starlette:
        def told(path: str, answer: Callable[[Request], Response]) -> Route:
            async def endpoint(request: Request) -> Response:
                self.asked.append(str(request.url.path))
                if "/api/" in path and request.headers.get("authorization") != f"Bearer {KEY}":
                    return JSONResponse({"title": "Not authorized"}, 401)
                return self.instead.get(request.url.path) or answer(request)

            return Route(path, endpoint)

        return Starlette(
            routes=[
                told("/bridge/api/v1/stats", lambda _: JSONResponse(self.stats)),
                told("/bridge/api/v1/messages", self._search),
                told("/bridge/api/v1/messages/{id}", self._life),
                told("/relay/api/v1/incidents", lambda _: JSONResponse({"incidents": self.incidents})),
                told("/mcp/health/checks", lambda _: JSONResponse({"checks": self.checks})),
                told("/{service}/health", lambda r: JSONResponse(self.health[r.path_params["service"]])),
            ]
        )

    def _search(self, request: Request) -> Response:
        asked = request.query_params
        cursor = asked.get("cursor", "0")
        if not (cursor.isascii() and cursor.isdigit()):
            return JSONResponse({"title": "Invalid input", "detail": "cursor is a number"}, 422)
        start, limit = int(cursor), int(asked["limit"])
        found = [
            message
            for message in self.messages
            if asked.get("status", message["status"]) == message["status"]
            and asked.get("q", "").lower() in message["title"].lower()
        ]
        after = start + limit
        return JSONResponse(
            {"items": found[start:after], "next_cursor": str(after) if after < len(found) else None}
        )

    def _life(self, request: Request) -> Response:
        life = self.lives.get(request.path_params["id"])
        return (
            JSONResponse(life)
            if life
            else JSONResponse({"title": "Not Found", "detail": "There is no message with this id."}, 404)
        )


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """None: pytest has its own."""


@asynccontextmanager
async def serving(suite: Suite, port: int = 0) -> AsyncIterator[Suite]:
    """The suite on a port of this machine."""
    server = _Server(
        uvicorn.Config(
            suite.app(),
            host="127.0.0.1",
            port=port,
            log_config=None,
            lifespan="off",
            # A connection that came in the last moment would else be waited for.
            timeout_graceful_shutdown=1,
        )
    )
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        found = server.servers[0].sockets[0].getsockname()[1]
        suite.url = f"http://127.0.0.1:{found}"
        yield suite
    finally:
        server.should_exit = True
        await task


async def until(condition: Callable[[], Any], within: float = 15.0) -> Any:
    """The condition's first answer that is true; it may be a coroutine function.

    Raises:
        TimeoutError: there was none.
    """
    async with asyncio.timeout(within):
        while True:
            answer = condition()
            if found := (await answer if inspect.isawaitable(answer) else answer):
                return found
            await asyncio.sleep(0.01)
