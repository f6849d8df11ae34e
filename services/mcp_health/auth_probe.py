"""Tests the authentication of a service: calls a protected route without a key and with a wrong key.

The calls have the mark of the suite's own requests, so the service counts them as refused probes and not as
failed logins, which would raise an alert and block this address. The first round tests every route, each
later one a single route, in turn. A service with another internal key does not believe the mark: there, each
round tests a single route.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from services.contracts.health import ControlStatus
from services.kit.logs import redact
from services.kit.web.auth import new_key
from services.mcp_health import probes
from services.mcp_health.compliance import Finding

_REFUSED = frozenset({401, 403})
_REDIRECTS = range(300, 400)
#: Statuses that show nothing about authentication: the route is overloaded, broken, or does not exist.
_INCONCLUSIVE = frozenset({404, 405, 408, 429, *range(500, 600)})
# Labels that identify a person or a chat, and the ids of channels and groups as Telegram writes them.
_IDENTIFIER = re.compile(r'[{,](chat_id|user_id|username|phone|message_id|token)="|="-100\d{10,}"')
_FAILED_LOGINS = re.compile(r"^auth_failed_attempts_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_REFUSED_PROBES = re.compile(r"^auth_probes_refused_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_LOGINS_GREW = "auth_failed_attempts_total_grew_by"
_STARTED = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """Response of a protected route to a call without a key or with a wrong key."""

    status: int
    redirects_to_login: bool = False

    @property
    def result(self) -> ControlStatus:
        """The result: passed, failed or unknown.

        Passed: 401, 403 or a redirect to a login page. Unknown: 404, 405, 408, 429 and 5xx, which show
        nothing about authentication. Failed: every other status.
        """
        if self.status in _REFUSED or self.redirects_to_login:
            return ControlStatus.PASSED
        return ControlStatus.UNKNOWN if self.status in _INCONCLUSIVE else ControlStatus.FAILED


@dataclass(frozen=True, slots=True)
class LoginFailures:
    """Counters in ``/metrics``, and the start time of the process that answered.

    Args:
        failed_logins: None if the counter is not exported.
        refused_probes: refused requests with the mark of the suite; 0 if the counter is not exported.
        process_start: seconds since the epoch, as a text.
    """

    failed_logins: float | None
    refused_probes: float
    process_start: str


@dataclass(frozen=True, slots=True)
class AuthFindings:
    """Findings of one round: routes refuse, refusals are counted, metrics have no identifiers."""

    access: Finding
    refusals: Finding
    identifiers: Finding


@dataclass(slots=True)
class AuthProbe:
    """Tests one service.

    Attributes:
        responses: the latest two of each route: without a key, with a wrong key.
        believed: whether the service believes the mark, as far as it is known.
    """

    responses: dict[str, tuple[ProbeResponse, ProbeResponse]] = field(default_factory=dict)
    believed: bool = False

    async def measure(self, client: httpx.AsyncClient, now: float) -> AuthFindings:
        """Runs one round: reads the routes and three times the metrics, and calls routes twice each.

        Args:
            client: client of the service.
            now: seconds since the epoch.

        Raises:
            CallError: a request failed, or ``/metrics`` did not answer 200.
        """
        routes = protected_routes((await probes.call(client, "/openapi.json")).body)
        route = self.next_route(routes)
        text = await _metrics(client)
        if route is None:
            reason = "its OpenAPI document names no protected route"
            nothing = Finding(ControlStatus.UNKNOWN, {"reason": reason}, now)
            return AuthFindings(nothing, nothing, identifiers(text, now))
        refused = await self._test(client, route)
        before = login_failures(text)
        after = [login_failures(await _metrics(client)), login_failures(await _metrics(client))]
        counted = refusals(before, after, refused, now)
        if refused:
            self.believed = counted.evidence.get(_LOGINS_GREW) == 0
        for other in sorted(set(routes) - self.responses.keys()) if self.believed else ():
            await self._test(client, other)
        return AuthFindings(access(self.responses, len(routes), now), counted, identifiers(text, now))

    async def _test(self, client: httpx.AsyncClient, route: str) -> int:
        """Calls a route without a key and with a wrong one; returns how many of the calls were refused."""
        responses = await _call(client, route, None), await _call(client, route, new_key())
        self.record(route, *responses)
        return sum(response.status in _REFUSED for response in responses)

    def next_route(self, routes: Sequence[str]) -> str | None:
        """Returns a route without responses, else the least recently tested one; None without routes.

        Deletes the responses of routes that are not in ``routes``.
        """
        for gone in self.responses.keys() - set(routes):
            del self.responses[gone]
        fresh = [route for route in routes if route not in self.responses]
        return fresh[0] if fresh else next(iter(self.responses), None)

    def record(self, route: str, without_key: ProbeResponse, wrong_key: ProbeResponse) -> None:
        self.responses.pop(route, None)  # the dictionary's order is the order of probing
        self.responses[route] = (without_key, wrong_key)


async def _metrics(client: httpx.AsyncClient) -> str:
    reply = await probes.call(client, "/metrics")
    if reply.status != httpx.codes.OK:
        raise probes.CallError(f"/metrics answered {reply.status}", answered=True)
    return reply.body.decode(errors="replace")


async def _call(client: httpx.AsyncClient, route: str, key: str | None) -> ProbeResponse:
    headers = {"Authorization": f"Bearer {key}"} if key else None
    reply = await probes.call(client, route, headers=headers, read_body=False)
    to_login = reply.status in _REDIRECTS and "login" in reply.headers.get("location", "")
    return ProbeResponse(reply.status, to_login)


def protected_routes(document: bytes) -> tuple[str, ...]:
    """Returns the GET routes without path parameters that need a key or are below ``/api/``.

    Args:
        document: the service's OpenAPI document; an invalid document gives an empty tuple.
    """
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


def access(responses: Mapping[str, tuple[ProbeResponse, ProbeResponse]], routes: int, now: float) -> Finding:
    """Failed if any response is failed, else unknown if any is unknown or missing, else passed.

    Args:
        responses: by route: without a key, with a wrong key.
        routes: number of protected routes.
        now: seconds since the epoch.
    """
    results = {response.result for pair in responses.values() for response in pair}
    if len(responses) < routes:
        results.add(ControlStatus.UNKNOWN)
    evidence = {
        "routes": routes,
        "asked": len(responses),
        "answers": {
            route: {"without_key": without_key.status, "wrong_key": wrong_key.status}
            for route, (without_key, wrong_key) in responses.items()
        },
    }
    return Finding(_worst(results), evidence, now)


def _worst(results: set[ControlStatus]) -> ControlStatus:
    for status in (ControlStatus.FAILED, ControlStatus.UNKNOWN):
        if status in results:
            return status
    return ControlStatus.PASSED if results else ControlStatus.UNKNOWN


def login_failures(text: str) -> LoginFailures:
    """Reads the counters of refused requests from a metrics page."""
    failed, probes, started = (
        pattern.search(text) for pattern in (_FAILED_LOGINS, _REFUSED_PROBES, _STARTED)
    )
    return LoginFailures(
        float(failed[1]) if failed else None,
        float(probes[1]) if probes else 0.0,
        started[1] if started else "",
    )


def refusals(before: LoginFailures, after: list[LoginFailures], refused: int, now: float) -> Finding:
    """Passed if the counters of refused probes and of failed logins rose by at least ``refused`` together.

    Failed if they did not, or failed logins are not exported. Unknown if no call was refused with 401 or 403,
    or if different replicas answered, since another one may have counted the calls.
    """
    if not refused:
        return Finding(ControlStatus.UNKNOWN, {"reason": "nothing was refused with 401 or 403"}, now)
    if len({each.process_start for each in (before, *after)}) > 1:
        return Finding(ControlStatus.UNKNOWN, {"reason": "several replicas answer"}, now)
    if any(each.failed_logins is None for each in (before, *after)):
        evidence: dict[str, Any] = {"reason": "auth_failed_attempts_total is not exported"}
        return Finding(ControlStatus.FAILED, evidence, now)
    probes_grew = max(each.refused_probes for each in after) - before.refused_probes
    logins_grew = max(each.failed_logins or 0.0 for each in after) - (before.failed_logins or 0.0)
    evidence = {
        "refused": refused,
        "auth_probes_refused_total_grew_by": probes_grew,
        _LOGINS_GREW: logins_grew,
    }
    counted = probes_grew + logins_grew >= refused
    return Finding(ControlStatus.PASSED if counted else ControlStatus.FAILED, evidence, now)


def identifiers(text: str, now: float) -> Finding:
    """Failed if a sample has a secret, a label such as ``chat_id`` or ``username``, or the ID of a group.

    Unknown if the page has no samples.
    """
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not samples:
        return Finding(ControlStatus.UNKNOWN, {"reason": "no metrics"}, now)
    faulty = sorted(
        {line.partition("{")[0] for line in samples if _IDENTIFIER.search(line) or redact(line) != line}
    )
    evidence = {"samples_read": len(samples), "metrics_with_identifiers": faulty[:20]}
    return Finding(ControlStatus.FAILED if faulty else ControlStatus.PASSED, evidence, now)
