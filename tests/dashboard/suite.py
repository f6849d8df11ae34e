"""The other services for the dashboard: a real HTTP server with answers that a test sets."""

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
from services.kit.errors import Problem

KEY = "cct_the-key-of-these-tests-only"
PASSWORD = "correct horse battery"
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def healthy(**components: dict[str, Any]) -> dict[str, Any]:
    """Returns a healthy report, as every service answers it."""
    return {
        "status": "healthy",
        "timestamp": rfc3339(START),
        "version": "0.1.0",
        "components": components,
    }


def bridge_healthy(**components: dict[str, Any]) -> dict[str, Any]:
    """Returns a healthy report of the bridge."""
    numbers = {
        "uptime_seconds": 86_400.0,
        "memory_usage_mb": 128.0,
        "cpu_usage_percent": 12.5,
        "active_connections": 1,
        "messages_processed_total": 0,
    }
    return healthy(**components) | {"metrics": numbers}


def suite_healthy(**services: dict[str, Any]) -> dict[str, Any]:
    """Returns a healthy report of mcp-health that checks these services."""
    return healthy() | {
        "services": services,
        "python_version": "3.11.7",
        "memory": {"used_mb": 512.0, "total_mb": 2048.0, "usage_percent": 25.0},
        "uptime_seconds": 86_400.0,
        "environment": "test",
    }


def check_row(check_id: str, **fields: Any) -> dict[str, Any]:
    """Returns a healthy row of ``/health/checks``, with changed fields."""
    return {
        "id": check_id,
        "name": check_id.title(),
        "type": "dependency",
        "critical": False,
        "status": "healthy",
        "duration_ms": None,
        "last_check": None,
        "consecutive_failures": 0,
        "circuit": {"state": "closed", "opened_at": None},
        "evidence": {},
    } | fields


def incident(**fields: Any) -> dict[str, Any]:
    """Returns a firing incident, with changed fields."""
    return {
        "id": "1",
        "state": "firing",
        "alertname": "HighErrorRate",
        "severity": "critical",
        "group_labels": {},
        "alertmanager": "http://alertmanager:9093",
        "receiver": "alert-relay",
        "opened_at": rfc3339(START),
        "updated_at": rfc3339(START),
        "resolved_at": None,
        "episodes": 1,
        "firing": 1,
    } | fields


@dataclass
class Suite:
    """Bridge under ``/bridge``, mcp-health under ``/mcp``, alert-relay under ``/relay``."""

    url: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    histories: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    health: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    #: answers that replace the usual ones, by path
    instead: dict[str, Response] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        last_check = rfc3339(START)
        self.stats = {
            "counted_since": rfc3339(START),
            "counted_at": None,
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
        api = {"status": "healthy", "response_time_ms": 45, "last_check": last_check}
        queue = {"status": "healthy", "queue_depth": 0, "last_check": last_check}
        self.checks = [check_row("bridge", duration_ms=3.0, last_check=last_check)]
        self.health = {
            "bridge": bridge_healthy(telegram_api=api, message_queue=queue),
            "mcp": suite_healthy(bridge={"status": "healthy", "last_check": last_check}),
            "relay": healthy(database={"status": "healthy", "last_check": last_check}),
        }

    def accept(self, title: str, **fields: Any) -> str:
        """Adds a queued message, and returns its id."""
        number = len(self.messages) + 1
        message_id = f"0199-{number:04d}"
        message = {
            "id": message_id,
            "event_id": f"event-{number}",
            "type": "task_completion",
            "category": "task",
            "title": title,
            "source": "ci",
            "severity": "low",
            "chat_id": 1001,
            "thread_id": None,
            "bot": "default",
            "status": "queued",
            "accepted_at": rfc3339(START + number),
            "finished_at": None,
            "next_attempt_at": None,
            "deliver_at": None,
            "quiet_until": None,
            "expires_at": None,
            "possible_duplicate": False,
            "attempts": 0,
            "correlation_id": f"run-{number}",
            "trace_id": f"{number:032x}",
            "telegram_message_ids": [],
            "last_error": None,
        } | fields
        self.messages.insert(0, message)
        queued = {"at": message["accepted_at"], "state": "queued", "cause": "accepted", "duration_ms": None}
        self.histories[message_id] = message | {
            "events": [queued],
            "attempts": [],
            "attempts_made": 0,
            "links": {"event": f"/api/v1/events/{message['event_id']}", "trace": None},
        }
        self.stats["accepted_total"] += 1
        self.stats["queue"]["queued"] += 1
        return message_id

    def deliver(self, message_id: str) -> None:
        """Delivers a message at the first attempt, 0.12 s after it was accepted."""
        history = self.histories[message_id]
        message = next(each for each in self.messages if each["id"] == message_id)
        number = int(message_id[-4:])
        accepted, finished = START + number, START + number + 0.12
        delivered = {
            "status": "delivered",
            "finished_at": rfc3339(finished),
            "telegram_message_ids": [7],
        }
        message.update(delivered, attempts=1)
        history.update(delivered, attempts_made=1)
        history["events"] += [
            {"at": rfc3339(accepted + 0.01), "state": "sending", "cause": "attempt 1", "duration_ms": 110.0},
            {"at": rfc3339(finished), "state": "delivered", "cause": "attempt 1: sent", "duration_ms": None},
        ]
        history["attempts"] = [
            {
                "number": 1,
                "part": 1,
                "claimed_at": rfc3339(accepted + 0.01),
                "started_at": rfc3339(accepted + 0.06),
                "duration_ms": 60.0,
                "outcome": "sent",
                "reason": "none",
                "detail": None,
                "limiter_wait_ms": 41.0,
                "retry_after_seconds": None,
                "telegram_message_id": 7,
            }
        ]
        self.stats["delivered_total"] += 1
        self.stats["queue"]["queued"] -= 1
        self.stats["delivery_rate_percent"] = 100.0
        self.stats["latency_seconds"] = {"p50": 0.12, "p95": 0.12, "p99": 0.12}

    def app(self) -> Starlette:
        def route(path: str, answer: Callable[[Request], Response]) -> Route:
            async def endpoint(request: Request) -> Response:
                self.requests.append(str(request.url.path))
                if "/api/" in path and request.headers.get("authorization") != f"Bearer {KEY}":
                    return Problem(401, "Not authorized").response()
                return self.instead.get(request.url.path) or answer(request)

            return Route(path, endpoint)

        return Starlette(
            routes=[
                route("/bridge/api/v1/stats", lambda _: JSONResponse(self.stats)),
                route("/bridge/api/v1/messages", self._search),
                route("/bridge/api/v1/messages/{id}", self._history),
                route("/relay/api/v1/incidents", lambda _: JSONResponse(self._incidents())),
                route("/mcp/health/checks", lambda _: JSONResponse(self._checks())),
                route("/{service}/health", lambda r: JSONResponse(self.health[r.path_params["service"]])),
            ]
        )

    def _incidents(self) -> dict[str, Any]:
        return {"incidents": self.incidents, "next_cursor": None}

    def _checks(self) -> dict[str, Any]:
        return {"status": "healthy", "timestamp": rfc3339(START), "checks": self.checks}

    def _search(self, request: Request) -> Response:
        query = request.query_params
        cursor = query.get("cursor", "0")
        if not (cursor.isascii() and cursor.isdigit()):
            return Problem(422, "Invalid input", "cursor is a number").response()
        start, limit = int(cursor), int(query["limit"])
        found = [
            message
            for message in self.messages
            if query.get("status", message["status"]) == message["status"]
            and query.get("q", "").lower() in message["title"].lower()
        ]
        after = start + limit
        return JSONResponse(
            {"items": found[start:after], "next_cursor": str(after) if after < len(found) else None}
        )

    def _history(self, request: Request) -> Response:
        history = self.histories.get(request.path_params["id"])
        if history is None:
            return Problem(404, "Not Found", "There is no message with this id.").response()
        return JSONResponse(history)


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """None: pytest has its own."""


@asynccontextmanager
async def serving(suite: Suite, port: int = 0) -> AsyncIterator[Suite]:
    """Serves the suite on loopback."""
    server = _Server(
        uvicorn.Config(
            suite.app(),
            host="127.0.0.1",
            port=port,
            log_config=None,
            lifespan="off",
            # The server would otherwise wait for a connection that was opened last.
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
    """Waits until a condition is true, and returns its answer; it may be a coroutine function.

    Raises:
        TimeoutError: it was never true.
    """
    async with asyncio.timeout(within):
        while True:
            answer = condition()
            if found := (await answer if inspect.isawaitable(answer) else answer):
                return found
            await asyncio.sleep(0.01)
