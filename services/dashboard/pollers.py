"""Reads the other services again and again, and stores each last answer and each failure."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from services.contracts.health import BridgeHealth, CheckList, HealthReport, SuiteHealth
from services.contracts.incidents import IncidentPage
from services.contracts.messages import MessageHistory, Page, Stats
from services.dashboard import overview
from services.dashboard.history import History, Sample
from services.dashboard.overview import Overview, Polled
from services.dashboard.settings import DashboardSettings
from services.kit import http_client
from services.kit.clock import Clock, from_rfc3339, rfc3339
from services.kit.errors import Problem
from services.kit.health import Level, Measurement
from services.kit.http_client import InternalMark
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.kit.web.openapi import ProblemDocument

M = TypeVar("M", bound=BaseModel)
#: Updates between two polls of a health report; services do not measure more often.
HEALTH_EVERY = 5
TIMEOUT_SECONDS = 3.0
INCIDENTS = 10  #: number of incidents shown
RECENT = 50  #: number of messages shown first


class UnexpectedAnswerError(Exception):
    """A service answered with a status or a body that its contract does not have."""


class Poller(Generic[M]):
    """Polls one resource of one service.

    Args:
        client: client of the service.
        path: of the resource.
        model: contract of the answer.
        every: seconds between two polls.
        clock: the time of answers.
        other_statuses: statuses beside 200 whose body is an answer, such as 503 of a critical ``/health``.
        on_answer: called with each answer and its time, seconds since the epoch.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        path: str,
        model: type[M],
        *,
        every: float,
        clock: Clock,
        other_statuses: tuple[int, ...] = (),
        on_answer: Callable[[M, float], None] = lambda _value, _at: None,
    ) -> None:
        self._client = client
        self._path = path
        self._model = model
        self._clock = clock
        self._other_statuses = other_statuses
        self._on_answer = on_answer
        self.polled: Polled[M] = Polled(every)

    async def run(self) -> None:
        """Polls until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self.polled.every)

    async def poll(self) -> None:
        """Polls once; a failure is stored beside the last answer and does not replace it."""
        start, polled_at = self._clock.monotonic(), self._clock.time()
        try:
            response = await self._client.get(self._path)
            value = parse(self._model, response, self._other_statuses)
        except (httpx.HTTPError, UnexpectedAnswerError) as error:
            self.polled = replace(self.polled, polled_at=polled_at, failure=describe(error))
            return
        answered_at = self._clock.time()
        self.polled = Polled(
            self.polled.every,
            value,
            answered_at=answered_at,
            duration=self._clock.monotonic() - start,
            polled_at=polled_at,
        )
        self._on_answer(value, answered_at)

    async def check_health(self) -> Measurement:
        """Health probe: degraded while the page shows an old answer."""
        polled = self.polled
        if polled.polled_at is None:
            return Measurement(Level.UNKNOWN)
        measured: dict[str, Any] = {"failure": polled.failure}
        if polled.answered_at is not None:
            measured["age_seconds"] = round(self._clock.time() - polled.answered_at, 3)
        fresh = polled.failure is None and polled.fresh(self._clock.time())
        return Measurement(Level.HEALTHY if fresh else Level.DEGRADED, measured)


#: The contract of each service's health report, by the service's name.
HEALTH_REPORTS: Mapping[str, type[HealthReport]] = {
    "bridge": BridgeHealth,
    "mcp-health": SuiteHealth,
    "alert-relay": HealthReport,
}


class Pollers:
    """The pollers of all services.

    Args:
        settings: of the dashboard.
        telemetry: counts the calls.
        clock: the time.
        history: gets a sample for each answer of the bridge's statistics.
        key: the bearer key of the suite.
        mark: of the polls, as requests of the suite itself.
    """

    def __init__(
        self,
        settings: DashboardSettings,
        telemetry: Telemetry,
        clock: Clock,
        history: History,
        *,
        key: str,
        mark: InternalMark,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._history = history
        every = settings.update_interval / 1000
        slow = HEALTH_EVERY * every
        urls = {
            "bridge": settings.bridge_url,
            "mcp-health": settings.mcp_health_url,
            "alert-relay": settings.alert_relay_url,
        }
        self._clients = {
            name: http_client.client(telemetry, name, url, timeout=TIMEOUT_SECONDS, key=key, internal=mark)
            for name, url in urls.items()
        }
        # What a person asks for is not the suite's own request.
        self._for_people = http_client.client(
            telemetry, "bridge", settings.bridge_url, timeout=TIMEOUT_SECONDS, key=key
        )
        bridge, mcp_health, relay = self._clients.values()
        self.health = {
            name: Poller(
                client, "/health", HEALTH_REPORTS[name], every=slow, clock=clock, other_statuses=(503,)
            )
            for name, client in self._clients.items()
        }
        self.stats = Poller(
            bridge, "/api/v1/stats", Stats, every=every, clock=clock, on_answer=self._add_sample
        )
        self.recent = Poller(bridge, f"/api/v1/messages?limit={RECENT}", Page, every=every, clock=clock)
        self.checks = Poller(mcp_health, "/health/checks", CheckList, every=slow, clock=clock)
        self.incidents = Poller(
            relay, f"/api/v1/incidents?limit={INCIDENTS}", IncidentPage, every=slow, clock=clock
        )
        #: By the component's name in the dashboard's health.
        self.by_name: dict[str, Poller[Any]] = {
            **{f"{name.replace('-', '_')}_health": poller for name, poller in self.health.items()},
            "mcp_health_checks": self.checks,
            "bridge_stats": self.stats,
            "bridge_messages": self.recent,
            "alert_relay_incidents": self.incidents,
        }

    async def run(self) -> None:
        """Polls every service until cancelled, then closes the connections."""
        async with AsyncExitStack() as stack:
            for client in (*self._clients.values(), self._for_people):
                await stack.enter_async_context(client)
            async with asyncio.TaskGroup() as group:
                for poller in self.by_name.values():
                    group.create_task(poller.run())

    def overview(self) -> Overview:
        """Returns the document that the page shows, from the last answers."""
        now = self._clock.time()
        views = {name: overview.service(name, poller.polled, now) for name, poller in self.health.items()}
        views["mcp-health"] = overview.with_checks(views["mcp-health"], self.checks.polled, now)
        services = list(views.values())
        return Overview(
            at=rfc3339(now),
            level=overview.overall(services),
            version=VERSION,
            interval_ms=self._settings.update_interval,
            history_minutes=self._settings.history_minutes,
            auth_enabled=self._settings.auth_enabled,
            services=services,
            flow=overview.flow(self.stats.polled, now),
            incidents=overview.incidents(self.incidents.polled, now),
            links=overview.Links(
                grafana=self._settings.grafana_ui_url,
                prometheus=self._settings.prometheus_ui_url,
                jaeger=self._settings.jaeger_ui_url,
                sandbox=self._settings.sandbox_ui_url,
            ),
        )

    async def search(self, query: Mapping[str, str | int]) -> Page:
        """Returns a page of the bridge's messages.

        Raises:
            Problem: the bridge's refusal, or 502 without a valid answer.
        """
        return await self._fetch(Page, "/api/v1/messages", query)

    async def message(self, message_id: str) -> MessageHistory:
        """Returns one message of the bridge with its states and attempts.

        Raises:
            Problem: 404 if it does not exist, or 502 without a valid answer.
        """
        path, endpoint = f"/api/v1/messages/{message_id}", "/api/v1/messages/{id}"
        return await self._fetch(MessageHistory, path, {}, endpoint)

    async def _fetch(
        self, model: type[M], path: str, query: Mapping[str, str | int], endpoint: str = ""
    ) -> M:
        try:
            response = await self._for_people.get(
                path, params=dict(query), extensions={"endpoint": endpoint or path}
            )
            if not response.is_client_error:
                return parse(model, response)
        except (httpx.HTTPError, UnexpectedAnswerError) as error:
            raise Problem(502, "The bridge gives no answer", describe(error)) from error
        raise _refusal(response)

    def _add_sample(self, stats: Stats, at: float) -> None:
        if stats.accepted_total is None or stats.delivered_total is None or stats.failed_total is None:
            return
        latency = stats.latency_seconds
        self._history.add(
            Sample(
                at=from_rfc3339(stats.counted_at) if stats.counted_at else at,
                accepted=stats.accepted_total,
                delivered=stats.delivered_total,
                failed=stats.failed_total,
                depth=overview.queue_depth(stats),
                oldest_age=stats.oldest_message_age_seconds,
                p50=latency.p50 if latency else None,
                p95=latency.p95 if latency else None,
                p99=latency.p99 if latency else None,
            )
        )


def parse(model: type[M], response: httpx.Response, other_statuses: tuple[int, ...] = ()) -> M:
    """Returns the body as the model.

    Raises:
        UnexpectedAnswerError: the status is neither 200 nor one of the others, or the body is not valid.
    """
    if response.status_code not in (200, *other_statuses):
        raise UnexpectedAnswerError(f"answered {response.status_code}")
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in fault["loc"])
        raise UnexpectedAnswerError(f"unexpected answer: {where or 'body'}: {fault['msg']}") from error


def describe(error: Exception) -> str:
    """Returns a failure as a text for people."""
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    return str(error) or type(error).__name__


def _refusal(response: httpx.Response) -> Problem:
    """Returns the bridge's 4xx as a problem; if it refused the dashboard's key, that is a 502."""
    if response.status_code in (401, 403):
        return Problem(502, "The bridge gives no answer", "It does not know the dashboard's API key.")
    try:
        problem = ProblemDocument.model_validate_json(response.content)
    except ValidationError:
        return Problem(response.status_code, response.reason_phrase)
    errors = [each.model_dump() for each in problem.errors]
    return Problem(response.status_code, problem.title, problem.detail, errors=errors or None)
