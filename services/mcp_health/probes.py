"""Calls out. Whatever can go wrong with a call is one error, which says whether it was answered."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import TypeAdapter, ValidationError

from services.kit.logs import redact
from services.mcp_health.responses import (
    AlertmanagerAlert,
    AlertmanagerStatus,
    Alerts,
    GrafanaHealth,
    HealthAnswer,
    JaegerServices,
    Silence,
    Targets,
)

T = TypeVar("T")
LARGEST_ANSWER_BYTES = 4_000_000
_REFUSALS = range(400, 500)
_HEALTH = TypeAdapter(HealthAnswer)
_TARGETS = TypeAdapter(Targets)
_ALERTS = TypeAdapter(Alerts)
_ALERTMANAGER = TypeAdapter(AlertmanagerStatus)
_ALERTMANAGER_ALERTS = TypeAdapter(tuple[AlertmanagerAlert, ...])
_SILENCES = TypeAdapter(tuple[Silence, ...])
_GRAFANA = TypeAdapter(GrafanaHealth)
_JAEGER = TypeAdapter(JaegerServices)


class CallError(Exception):
    """A call that did not bring what was asked for.

    Args:
        reason: one line, without addresses or secrets.
        answered: the other side is there and refused (4xx): no failure of the dependency.
    """

    def __init__(self, reason: str, *, answered: bool = False) -> None:
        super().__init__(redact(reason))
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: httpx.Headers
    body: bytes
    seconds: float  #: from the request to the end of the body


@dataclass(frozen=True, slots=True)
class PrometheusAnswers:
    targets: Targets
    alerts: Alerts


@dataclass(frozen=True, slots=True)
class AlertmanagerAnswers:
    status: AlertmanagerStatus
    alerts: tuple[AlertmanagerAlert, ...]
    silences: tuple[Silence, ...]


async def call(
    client: httpx.AsyncClient,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    read_body: bool = True,
) -> Reply:
    """GETs; any status is a reply.

    Not traced: a trace of every check would push the messages' traces out of Jaeger.

    Args:
        client: of the other side.
        path: below its address.
        headers: further ones.
        endpoint: bounded metric label, where the path holds an id.
        read_body: false when only the status matters; a stream would never end.

    Raises:
        CallError: no connection, no answer, or one that is too large.
    """
    start = time.perf_counter()
    extensions = {} if endpoint is None else {"endpoint": endpoint}
    try:
        with suppress_instrumentation():
            async with client.stream("GET", path, headers=headers, extensions=extensions) as response:
                body = await _limited(response) if read_body else b""
    except httpx.ConnectError as error:
        raise CallError(f"cannot connect: {_words(error)}") from error
    except httpx.TimeoutException as error:
        raise CallError("no answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CallError(f"the call broke off: {_words(error)}") from error
    return Reply(response.status_code, response.headers, body, time.perf_counter() - start)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _limited(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LARGEST_ANSWER_BYTES:
            raise CallError(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
    return bytes(body)


async def _ask(client: httpx.AsyncClient, path: str, shape: TypeAdapter[T]) -> T:
    reply = await call(client, path)
    if reply.status != httpx.codes.OK:
        raise CallError(f"{path} answered {reply.status}", answered=reply.status in _REFUSALS)
    return _understood(path, reply, shape)


def _understood(path: str, reply: Reply, shape: TypeAdapter[T]) -> T:
    try:
        return shape.validate_json(reply.body)
    except ValidationError as error:
        fault: Any = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise CallError(f"{path} is not understood: {where or 'body'}: {fault['msg']}") from error


async def own_service(client: httpx.AsyncClient) -> HealthAnswer:
    """One of ours. 503 with a report is an answer: it says that it is critical."""
    reply = await call(client, "/health")
    if reply.status not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
        raise CallError(f"/health answered {reply.status}", answered=reply.status in _REFUSALS)
    try:
        return _understood("/health", reply, _HEALTH)
    except CallError as error:
        if reply.status == httpx.codes.SERVICE_UNAVAILABLE:
            raise CallError("/health answered 503 without a report") from error
        raise


async def prometheus(client: httpx.AsyncClient) -> PrometheusAnswers:
    targets, alerts = await asyncio.gather(
        _ask(client, "/api/v1/targets?state=active", _TARGETS), _ask(client, "/api/v1/alerts", _ALERTS)
    )
    return PrometheusAnswers(targets, alerts)


async def alertmanager(client: httpx.AsyncClient) -> AlertmanagerAnswers:
    status, alerts, silences = await asyncio.gather(
        _ask(client, "/api/v2/status", _ALERTMANAGER),
        _ask(client, "/api/v2/alerts", _ALERTMANAGER_ALERTS),
        _ask(client, "/api/v2/silences", _SILENCES),
    )
    return AlertmanagerAnswers(status, alerts, silences)


async def grafana(client: httpx.AsyncClient) -> GrafanaHealth:
    return await _ask(client, "/api/health", _GRAFANA)


async def jaeger(client: httpx.AsyncClient) -> JaegerServices:
    return await _ask(client, "/api/services", _JAEGER)
