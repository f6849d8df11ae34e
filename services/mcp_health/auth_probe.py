"""Knocks at the doors of our services without a key and with a wrong one, and reads what they count.

Each knock is a failed login to the other side, where ten within five minutes are an alert: so one
route a round, another one each time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from services.kit.logs import redact
from services.kit.web.auth import new_key
from services.mcp_health import probes
from services.mcp_health.compliance import Measurement, Status

_REFUSED = frozenset({401, 403})
_REDIRECTS = range(300, 400)
#: The route could not tell: it is overloaded, broken, or not there.
_NO_VERDICT = frozenset({404, 405, 408, 429, *range(500, 600)})
# Labels that single out a person or a chat, and the ids of channels and groups as Telegram writes them.
_IDENTIFIER = re.compile(r'[{,](chat_id|user_id|username|phone|message_id|token)="|="-100\d{10,}"')
_FAILED_LOGINS = re.compile(r"^auth_failed_attempts_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_STARTED = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Knock:
    """How one route answered: refused, open, or neither could be told."""

    status: int
    to_login: bool = False

    @property
    def verdict(self) -> Status:
        if self.status in _REFUSED or self.to_login:
            return Status.PASSED
        return Status.UNKNOWN if self.status in _NO_VERDICT else Status.FAILED


@dataclass(frozen=True, slots=True)
class Counted:
    """What ``/metrics`` said, and which process said it."""

    failed_logins: float | None
    started: str


@dataclass(slots=True)
class Doors:
    """What is known of the doors of one service."""

    knocks: dict[str, tuple[Knock, Knock]] = field(default_factory=dict)

    def next_route(self, routes: tuple[str, ...]) -> str | None:
        """The one asked longest ago, those never asked first; forgets routes that are gone."""
        for gone in self.knocks.keys() - set(routes):
            del self.knocks[gone]
        fresh = [route for route in routes if route not in self.knocks]
        return fresh[0] if fresh else next(iter(self.knocks), None)

    def note(self, route: str, without: Knock, wrong: Knock) -> None:
        self.knocks.pop(route, None)  # the newest goes last
        self.knocks[route] = (without, wrong)


@dataclass(frozen=True, slots=True)
class Findings:
    access: Measurement
    refusals: Measurement
    identifiers: Measurement


async def measure(client: httpx.AsyncClient, doors: Doors, now: float) -> Findings:
    """One round at one service: three calls for its metrics, one for its routes, two knocks.

    Raises:
        CallError: it could not be called.
    """
    routes = protected_routes((await probes.call(client, "/openapi.json")).body)
    route = doors.next_route(routes)
    text = await _metrics(client)
    if route is None:
        nothing = Measurement(
            Status.UNKNOWN, {"reason": "its OpenAPI document names no protected route"}, now
        )
        return Findings(nothing, nothing, identifiers(text, now))
    without = await _knock(client, route, None)
    wrong = await _knock(client, route, new_key())
    doors.note(route, without, wrong)
    after = [counted(await _metrics(client)), counted(await _metrics(client))]
    refused = sum(knock.status in _REFUSED for knock in (without, wrong))
    return Findings(
        access(doors.knocks, len(routes), now),
        refusals(counted(text), after, refused, now),
        identifiers(text, now),
    )


async def _metrics(client: httpx.AsyncClient) -> str:
    reply = await probes.call(client, "/metrics")
    if reply.status != httpx.codes.OK:
        raise probes.CallError(f"/metrics answered {reply.status}", answered=True)
    return reply.body.decode(errors="replace")


async def _knock(client: httpx.AsyncClient, route: str, key: str | None) -> Knock:
    headers = {"Authorization": f"Bearer {key}"} if key else None
    reply = await probes.call(client, route, headers=headers, read_body=False)
    login = reply.status in _REDIRECTS and "login" in reply.headers.get("location", "")
    return Knock(reply.status, login)


def protected_routes(document: bytes) -> tuple[str, ...]:
    """GET routes without an id in the path that say they want a key, or that lie below /api/."""
    try:
        paths: dict[str, dict[str, Any]] = orjson.loads(document)["paths"]
        return tuple(
            sorted(
                path
                for path, methods in paths.items()
                if "{" not in path
                and "get" in methods
                and (methods["get"].get("security") or path.startswith("/api/"))
            )
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ()


def access(knocks: Mapping[str, tuple[Knock, Knock]], routes: int, now: float) -> Measurement:
    """Failed if any route asked so far let somebody in."""
    verdicts = {knock.verdict for pair in knocks.values() for knock in pair}
    evidence = {
        "routes": routes,
        "asked": len(knocks),
        "answers": {
            route: {"without_key": without.status, "wrong_key": wrong.status}
            for route, (without, wrong) in knocks.items()
        },
    }
    return Measurement(_worst(verdicts), evidence, now)


def _worst(verdicts: set[Status]) -> Status:
    for status in (Status.FAILED, Status.UNKNOWN):
        if status in verdicts:
            return status
    return Status.PASSED if verdicts else Status.UNKNOWN


def counted(text: str) -> Counted:
    failed = _FAILED_LOGINS.search(text)
    started = _STARTED.search(text)
    return Counted(float(failed[1]) if failed else None, started[1] if started else "")


def refusals(before: Counted, after: list[Counted], refused: int, now: float) -> Measurement:
    """Whether the service counted what it refused of ours.

    Behind a load balancer another replica may have counted it: then nothing can be told.
    """
    if not refused:
        return Measurement(Status.UNKNOWN, {"reason": "nothing was refused with 401 or 403"}, now)
    if len({each.started for each in (before, *after)}) > 1:
        return Measurement(Status.UNKNOWN, {"reason": "several replicas answer"}, now)
    values = [each.failed_logins for each in (before, *after)]
    if None in values:
        evidence: dict[str, Any] = {"reason": "auth_failed_attempts_total is not exported"}
        return Measurement(Status.FAILED, evidence, now)
    grown = max(each for each in values[1:] if each is not None) - (values[0] or 0.0)
    evidence = {"refused": refused, "auth_failed_attempts_total_grew_by": grown}
    return Measurement(Status.PASSED if grown >= refused else Status.FAILED, evidence, now)


def identifiers(text: str, now: float) -> Measurement:
    """Whether the metrics hold a secret or single out a person or a chat."""
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not samples:
        return Measurement(Status.UNKNOWN, {"reason": "no metrics"}, now)
    faulty = sorted(
        {line.partition("{")[0] for line in samples if _IDENTIFIER.search(line) or redact(line) != line}
    )
    evidence = {"samples_read": len(samples), "metrics_with_identifiers": faulty[:20]}
    return Measurement(Status.FAILED if faulty else Status.PASSED, evidence, now)
