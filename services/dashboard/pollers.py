"""Asks the other services, again and again; keeps each last answer and each failure."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from services.dashboard import overview
from services.dashboard.history import History, Sample
from services.dashboard.overview import Heard
from services.dashboard.readings import CheckList, HealthReport, IncidentPage, MessageLife, MessagePage, Stats
from services.dashboard.settings import DashboardSettings
from services.kit import http_client
from services.kit.clock import Clock, rfc3339
from services.kit.errors import Problem
from services.kit.health import Level, Measurement
from services.kit.telemetry.telemetry import VERSION, Telemetry

M = TypeVar("M", bound=BaseModel)
HEALTH_EVERY = 5  #: updates; a service measures its health no more often than that
TIMEOUT = 3.0
INCIDENTS = 10  #: newest ones shown
RECENT = 50  #: newest messages that the page opens with


class Feed(Generic[M]):
    """One question to one service.

    Args:
        client: of the service.
        path: what to ask for.
        model: the answer's shape.
        every: seconds between two questions.
        clock: for the times that go with the answer.
        refusals: statuses whose body is an answer as well, such as 503 of a critical ``/health``.
        told: hears of each answer and its time.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        path: str,
        model: type[M],
        *,
        every: float,
        clock: Clock,
        refusals: tuple[int, ...] = (),
        told: Callable[[M, float], None] = lambda _value, _at: None,
    ) -> None:
        self._client = client
        self._path = path
        self._model = model
        self._clock = clock
        self._refusals = refusals
        self._told = told
        self.heard: Heard[M] = Heard(every)

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(self.heard.every)

    async def ask(self) -> None:
        """Asks once; a failure is kept beside the last answer, never instead of it."""
        start, asked_at = self._clock.monotonic(), self._clock.time()
        try:
            response = await self._client.get(self._path)
            value = parse(self._model, response, self._refusals)
        except (httpx.HTTPError, UnexpectedAnswerError) as error:
            self.heard = replace(self.heard, asked_at=asked_at, failure=describe(error))
            return
        answered_at = self._clock.time()
        self.heard = Heard(
            self.heard.every,
            value,
            answered_at=answered_at,
            took=self._clock.monotonic() - start,
            asked_at=asked_at,
        )
        self._told(value, answered_at)

    def probe(self) -> Callable[[], Awaitable[Measurement]]:
        """Health of the feed itself: whether the page shows the present or the past."""

        async def measure() -> Measurement:
            seen = self.heard
            if seen.asked_at is None:
                return Measurement(Level.UNKNOWN)
            measured: dict[str, Any] = {"failure": seen.failure}
            if seen.answered_at is not None:
                measured["age_seconds"] = round(self._clock.time() - seen.answered_at, 3)
            fit = seen.failure is None and seen.fresh(self._clock.time())
            return Measurement(Level.HEALTHY if fit else Level.DEGRADED, measured)

        return measure


class UnexpectedAnswerError(Exception):
    """The other side answered, but not with what its contract says."""


class Sources:
    """Everything that the page knows, kept fresh while :meth:`run` runs."""

    def __init__(
        self, settings: DashboardSettings, telemetry: Telemetry, clock: Clock, history: History, key: str
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._history = history
        every = settings.update_interval / 1000
        slow = HEALTH_EVERY * every

        def client(provider: str, url: str) -> httpx.AsyncClient:
            return http_client.client(telemetry, provider, url, timeout=TIMEOUT, key=key)

        self._clients = {
            "bridge": client("bridge", settings.bridge_url),
            "mcp-health": client("mcp-health", settings.mcp_health_url),
            "alert-relay": client("alert-relay", settings.alert_relay_url),
        }
        self.health = {
            name: Feed(made, "/health", HealthReport, every=slow, clock=clock, refusals=(503,))
            for name, made in self._clients.items()
        }
        bridge = self._clients["bridge"]
        self.stats = Feed(bridge, "/api/v1/stats", Stats, every=every, clock=clock, told=self._remember)
        self.checks = Feed(self._clients["mcp-health"], "/health/checks", CheckList, every=slow, clock=clock)
        relay = self._clients["alert-relay"]
        self.incidents = Feed(
            relay, f"/api/v1/incidents?limit={INCIDENTS}", IncidentPage, every=slow, clock=clock
        )
        self.recent = Feed(bridge, f"/api/v1/messages?limit={RECENT}", MessagePage, every=every, clock=clock)
        #: Each by its name in the dashboard's own health.
        self.feeds: dict[str, Feed[Any]] = {
            **{f"{name.replace('-', '_')}_health": feed for name, feed in self.health.items()},
            "mcp_health_checks": self.checks,
            "bridge_stats": self.stats,
            "bridge_messages": self.recent,
            "alert_relay_incidents": self.incidents,
        }

    async def run(self) -> None:
        """Asks everybody until cancelled; then closes the connections."""
        async with AsyncExitStack() as stack:
            for client in self._clients.values():
                await stack.enter_async_context(client)
            async with asyncio.TaskGroup() as group:
                for feed in self.feeds.values():
                    group.create_task(feed.run())

    def state(self) -> overview.State:
        """What is known now."""
        now = self._clock.time()
        views = {name: overview.service(name, feed.heard, now) for name, feed in self.health.items()}
        views["mcp-health"] = overview.with_checks(views["mcp-health"], self.checks.heard, now)
        services = list(views.values())
        return overview.State(
            at=rfc3339(now),
            level=overview.overall(services),
            version=VERSION,
            interval_ms=self._settings.update_interval,
            history_minutes=self._settings.history_minutes,
            auth_enabled=self._settings.auth_enabled,
            services=services,
            flow=overview.flow(self.stats.heard, now),
            incidents=overview.incidents(self.incidents.heard, now),
            links=overview.Links(
                grafana=self._settings.grafana_ui_url,
                prometheus=self._settings.prometheus_ui_url,
                jaeger=self._settings.jaeger_ui_url,
                sandbox=self._settings.sandbox_ui_url,
            ),
        )

    async def search(self, query: Mapping[str, str | int]) -> MessagePage:
        """A page of the bridge's messages.

        Raises:
            Problem: the bridge's own refusal, or 502 when it gives no answer that we understand.
        """
        return await self._fetch(MessagePage, "/api/v1/messages", query)

    async def message(self, message_id: str) -> MessageLife:
        """One message's life.

        Raises:
            Problem: 404 when there is none; 502 when the bridge gives no answer that we understand.
        """
        return await self._fetch(MessageLife, f"/api/v1/messages/{message_id}", {}, "/api/v1/messages/{id}")

    async def _fetch(
        self, model: type[M], path: str, query: Mapping[str, str | int], endpoint: str = ""
    ) -> M:
        try:
            response = await self._clients["bridge"].get(
                path, params=dict(query), extensions={"endpoint": endpoint or path}
            )
            if not response.is_client_error:
                return parse(model, response)
        except (httpx.HTTPError, UnexpectedAnswerError) as error:
            raise Problem(502, "The bridge gives no answer", describe(error)) from error
        raise _refusal(response)

    def _remember(self, stats: Stats, at: float) -> None:
        latency = stats.latency_seconds
        self._history.add(
            Sample(
                at=at,
                accepted=stats.accepted_total,
                delivered=stats.delivered_total,
                failed=stats.failed_total,
                depth=stats.depth,
                oldest_age=stats.oldest_message_age_seconds,
                p50=latency.p50 if latency else None,
                p95=latency.p95 if latency else None,
                p99=latency.p99 if latency else None,
            )
        )


def parse(model: type[M], response: httpx.Response, refusals: tuple[int, ...] = ()) -> M:
    """The body as the model.

    Raises:
        UnexpectedAnswerError: it is something else, or neither 200 nor one of ``refusals``.
    """
    if response.status_code not in (200, *refusals):
        raise UnexpectedAnswerError(f"answered {response.status_code}")
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in fault["loc"])
        raise UnexpectedAnswerError(f"unexpected answer: {where or 'body'}: {fault['msg']}") from error


def describe(error: Exception) -> str:
    """A failure in words for a person."""
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT:g} s"
    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    return str(error) or type(error).__name__


def _refusal(response: httpx.Response) -> Problem:
    """The bridge's own 4xx, passed on; a refused key is our failure and not the viewer's."""
    if response.status_code in (401, 403):
        return Problem(502, "The bridge gives no answer", "It does not know the dashboard's API key.")
    try:
        told = response.json()
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    return Problem(
        response.status_code,
        str(told.get("title", response.reason_phrase)),
        str(told.get("detail", "")),
        errors=told.get("errors"),
    )
