"""HTTP calls to other programs. Every failure is a ``CallError``, which shows whether there was an answer."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import TypeAdapter, ValidationError

from services.contracts.health import HealthReport
from services.kit.logs import redact
from services.mcp_health.responses import (
    AlertmanagerAlert,
    AlertmanagerSilence,
    AlertmanagerStatus,
    GrafanaHealth,
    JaegerServices,
    PrometheusAlerts,
    PrometheusTargets,
)

T = TypeVar("T")
LARGEST_ANSWER_BYTES = 4_000_000
_REFUSALS = range(400, 500)
_HEALTH = TypeAdapter(HealthReport)
_TARGETS = TypeAdapter(PrometheusTargets)
_ALERTS = TypeAdapter(PrometheusAlerts)
_ALERTMANAGER = TypeAdapter(AlertmanagerStatus)
_ALERTMANAGER_ALERTS = TypeAdapter(tuple[AlertmanagerAlert, ...])
_SILENCES = TypeAdapter(tuple[AlertmanagerSilence, ...])
_GRAFANA = TypeAdapter(GrafanaHealth)
_JAEGER = TypeAdapter(JaegerServices)


class CallError(Exception):
    """A call without a usable answer.

    Args:
        reason: one line, without addresses or secrets.
        answered: whether the other side refused (4xx), which is no failure of the dependency.
    """

    def __init__(self, reason: str, *, answered: bool = False) -> None:
        super().__init__(redact(reason))
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer of any status."""

    status: int
    headers: httpx.Headers
    body: bytes
    seconds: float  #: from the request to the end of the body


@dataclass(frozen=True, slots=True)
class PrometheusAnswers:
    targets: PrometheusTargets
    alerts: PrometheusAlerts


@dataclass(frozen=True, slots=True)
class AlertmanagerAnswers:
    status: AlertmanagerStatus
    alerts: tuple[AlertmanagerAlert, ...]
    silences: tuple[AlertmanagerSilence, ...]


async def call(
    client: httpx.AsyncClient,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    read_body: bool = True,
) -> Reply:
    """Sends a GET request; an answer of any status is a reply.

    The call is not traced: traces of all checks would displace the traces of messages in Jaeger.

    Args:
        client: client of the other program.
        path: path below its base URL.
        headers: additional headers.
        endpoint: metric label from a fixed set, needed if the path contains an id.
        read_body: False if only the status matters; a stream would never end.

    Raises:
        CallError: no connection, no answer, or an answer that is too large.
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


async def _get(client: httpx.AsyncClient, path: str, model: TypeAdapter[T]) -> T:
    reply = await call(client, path)
    if reply.status != httpx.codes.OK:
        raise CallError(f"{path} answered {reply.status}", answered=reply.status in _REFUSALS)
    return _parsed(path, reply, model)


def _parsed(path: str, reply: Reply, model: TypeAdapter[T]) -> T:
    try:
        return model.validate_json(reply.body)
    except ValidationError as error:
        fault: Any = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise CallError(f"{path}: invalid answer: {where or 'body'}: {fault['msg']}") from error


async def own_service(client: httpx.AsyncClient) -> HealthReport:
    """Reads ``/health`` of a service of the suite; 503 with a report is an answer of a critical service."""
    reply = await call(client, "/health")
    if reply.status not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
        raise CallError(f"/health answered {reply.status}", answered=reply.status in _REFUSALS)
    try:
        return _parsed("/health", reply, _HEALTH)
    except CallError as error:
        if reply.status == httpx.codes.SERVICE_UNAVAILABLE:
            raise CallError("/health answered 503 without a report") from error
        raise


async def prometheus(client: httpx.AsyncClient) -> PrometheusAnswers:
    targets, alerts = await asyncio.gather(
        _get(client, "/api/v1/targets?state=active", _TARGETS), _get(client, "/api/v1/alerts", _ALERTS)
    )
    return PrometheusAnswers(targets, alerts)


async def alertmanager(client: httpx.AsyncClient) -> AlertmanagerAnswers:
    status, alerts, silences = await asyncio.gather(
        _get(client, "/api/v2/status", _ALERTMANAGER),
        _get(client, "/api/v2/alerts", _ALERTMANAGER_ALERTS),
        _get(client, "/api/v2/silences", _SILENCES),
    )
    return AlertmanagerAnswers(status, alerts, silences)


async def grafana(client: httpx.AsyncClient) -> GrafanaHealth:
    return await _get(client, "/api/health", _GRAFANA)


async def jaeger(client: httpx.AsyncClient) -> JaegerServices:
    return await _get(client, "/api/services", _JAEGER)
