"""The programs that mcp-health calls: real HTTP servers on loopback with answers that a test sets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.responses import JSONResponse, Response

from services.kit.clock import rfc3339
from services.kit.runner import running
from services.kit.settings import ServiceSettings
from services.kit.web.connections import ConnectionMetrics
from tests import servers

NOW = 1_767_225_600.0
KEY = "cct_the-one-key-of-these-tests-and-no-other"
Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class Neighbour:
    """A server with an answer for each path and 404 elsewhere; it records the requests."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def answers_json(self, path: str, body: Any, status: int = 200) -> None:
        async def answer(_: Request) -> Response:
            return JSONResponse(body, status)

        self.answers[path] = answer

    def answers_body(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        async def answer(_: Request) -> Response:
            return Response(body, status, headers)

        self.answers[path] = answer

    def hangs(self, path: str) -> None:
        """Gives no answer until the caller disconnects."""

        async def answer(request: Request) -> Response:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            return Response()

        self.answers[path] = answer

    def requires_key(self, path: str, body: Any = None) -> None:
        async def answer(request: Request) -> Response:
            if request.headers.get("authorization") == f"Bearer {KEY}":
                return JSONResponse(body)
            return JSONResponse({"title": "Not authorized"}, 401)

        self.answers[path] = answer

    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answers.get(request.url.path)
        return await answer(request) if answer else JSONResponse({"title": "Not Found"}, 404)


@asynccontextmanager
async def serving(*neighbours: Neighbour) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for neighbour in neighbours:
            neighbour.url = await stack.enter_async_context(_served(neighbour))
        yield


@asynccontextmanager
async def _served(neighbour: Neighbour) -> AsyncIterator[str]:
    def create_app(_: ServiceSettings) -> FastAPI:
        app = FastAPI(title="CCTelegram neighbour", openapi_url=None)
        app.state.connection_metrics = ConnectionMetrics(CollectorRegistry())  # the runner counts by it
        app.add_api_route("/{path:path}", neighbour.handle, response_model=None)
        return app

    async with running(create_app, ServiceSettings(port=0, shutdown_grace_seconds=1)) as service:
        yield service.url


@asynccontextmanager
async def raw_server(reply: bytes, *, reset: bool = False) -> AsyncIterator[str]:
    """A server that reads a request, writes these bytes and closes, or resets the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if reset:
            writer.transport.abort()
            return
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


@asynccontextmanager
async def calling(url: str, seconds: float = 5.0) -> AsyncIterator[httpx.AsyncClient]:
    async with servers.http(url, timeout=seconds) as client:
        yield client


def health(status: str = "healthy", **components: Any) -> dict[str, Any]:
    """Returns a report of a service of the suite; a component is a level or a dictionary."""
    full = {
        name: part if isinstance(part, dict) else {"status": part, "last_check": rfc3339(NOW)}
        for name, part in components.items()
    }
    return {"status": status, "timestamp": rfc3339(NOW), "version": "0.1.0", "components": full}


def target(health: str = "up", job: str = "bridge", error: str = "") -> dict[str, Any]:
    return {
        "scrapePool": job,
        "scrapeUrl": f"http://{job}:8080/metrics",
        "health": health,
        "lastError": error,
        "labels": {"job": job},
    }


def alert(name: str, severity: str = "warning", state: str = "firing") -> dict[str, Any]:
    return {"labels": {"alertname": name, "severity": severity}, "state": state, "value": "1e+00"}


def prometheus(targets: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> Neighbour:
    neighbour = Neighbour()
    neighbour.answers_json("/api/v1/targets", {"status": "success", "data": {"activeTargets": targets}})
    neighbour.answers_json("/api/v1/alerts", {"status": "success", "data": {"alerts": alerts}})
    return neighbour


def alertmanager(cluster: str = "ready") -> Neighbour:
    neighbour = Neighbour()
    neighbour.answers_json(
        "/api/v2/status", {"cluster": {"status": cluster}, "versionInfo": {"version": "0.28.1"}, "config": {}}
    )
    neighbour.answers_json(
        "/api/v2/alerts", [{"status": {"state": "active"}}, {"status": {"state": "suppressed"}}]
    )
    neighbour.answers_json(
        "/api/v2/silences", [{"status": {"state": "active"}}, {"status": {"state": "expired"}}]
    )
    return neighbour


def service_of_ours(failed_logins: float = 0.0, *, believes: bool = True) -> Neighbour:
    """A healthy service with one protected and one public route; it counts what it refuses."""
    neighbour = Neighbour()
    neighbour.answers_json("/health", health(database="healthy"))
    neighbour.answers_json(
        "/openapi.json",
        {
            "paths": {
                "/": {"get": {}},
                "/health": {"get": {}},
                "/api/v1/messages": {"get": {"security": [{"HTTPBearer": []}]}},
                "/api/v1/messages/{id}": {"get": {"security": [{"HTTPBearer": []}]}},
                "/api/v1/events": {"post": {"security": [{"HTTPBearer": []}]}},
            }
        },
    )
    counts = {"auth_failed_attempts_total": failed_logins, "auth_probes_refused_total": 0.0}

    async def refuse(_: Request) -> Response:
        counts["auth_probes_refused_total" if believes else "auth_failed_attempts_total"] += 1
        return JSONResponse({"title": "Not authorized"}, 401)

    async def metrics(_: Request) -> Response:
        return Response(
            "# HELP process_start_time_seconds Start\n"
            "process_start_time_seconds 1.7672e+09\n"
            + "".join(f"{name} {count}\n" for name, count in counts.items())
        )

    neighbour.answers["/api/v1/messages"] = refuse
    neighbour.answers["/metrics"] = metrics
    return neighbour


async def unused_port() -> str:
    """Returns an address without a listener."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    return f"http://{host}:{port}"
