"""Client of Alertmanager's API, version 2: reads its firing alerts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import TypeAdapter, ValidationError

from services.contracts.alertmanager import ApiGroup, ApiStatus
from services.kit.logs import redact
from services.kit.telemetry.telemetry import Telemetry

TIMEOUT_SECONDS = 5.0
#: Thousands of alerts with long annotations are a few megabytes.
LARGEST_ANSWER_BYTES = 32 * 1024 * 1024

_groups = TypeAdapter(tuple[ApiGroup, ...])
_status = TypeAdapter(ApiStatus)


class NoAnswerError(Exception):
    """Alertmanager gave no usable answer; the text is one line for the log."""


@dataclass(frozen=True, slots=True)
class AlertmanagerAlerts:
    """Alertmanager's answer.

    Args:
        groups: all groups, with every firing alert, silenced or not.
        started_at: when Alertmanager started, seconds since the epoch.
        configuration: its configuration file, YAML without secrets.
    """

    groups: Sequence[ApiGroup]
    started_at: float
    configuration: str


class AlertmanagerClient:
    """Calls one Alertmanager.

    Args:
        url: of Alertmanager, as this service reaches it.
        telemetry: counts the calls.
    """

    def __init__(self, url: str, telemetry: Telemetry) -> None:
        self._client = httpx.AsyncClient(base_url=url.rstrip("/"), timeout=TIMEOUT_SECONDS)
        self._telemetry = telemetry

    async def close(self) -> None:
        await self._client.aclose()

    async def alerts(self) -> AlertmanagerAlerts:
        """Returns all firing alerts, silenced or not.

        Raises:
            NoAnswerError: Alertmanager is unreachable, refuses, or its answer is not valid.
        """
        try:
            status = _status.validate_json(await self._get("/api/v2/status"))
            groups = _groups.validate_json(await self._get("/api/v2/alerts/groups"))
        except ValidationError as error:
            raise NoAnswerError(f"invalid answer: {error.error_count()} errors") from error
        return AlertmanagerAlerts(groups, status.uptime.timestamp(), status.config.original)

    async def _get(self, path: str) -> bytes:
        start = time.perf_counter()
        status = "none"
        try:
            with suppress_instrumentation():
                async with self._client.stream("GET", path) as answer:
                    status = str(answer.status_code)
                    body = await _read(answer)
        except httpx.HTTPError as error:
            raise NoAnswerError(redact(f"{type(error).__name__}: {error}")) from error
        finally:
            self._telemetry.count_call("alertmanager", path, status, time.perf_counter() - start)
        if not answer.is_success:
            raise NoAnswerError(f"{path} answered {answer.status_code}")
        return body


async def _read(answer: httpx.Response) -> bytes:
    body = b""
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > LARGEST_ANSWER_BYTES:
            raise NoAnswerError(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
    return body
