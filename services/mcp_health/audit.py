"""Measures what the controls ask for, again and again.

What is seen from here is looked at with every round of checks; the doors of the others are tried
once in the compliance interval, because they count every try as a failed login.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.health import Level
from services.kit.telemetry.telemetry import (
    FinishedSpan,
    Telemetry,
    TraceContext,
    new_span_id,
    new_trace_id,
)
from services.mcp_health import auth_probe, compliance, posture, probes, transport
from services.mcp_health.auth_probe import Doors
from services.mcp_health.authority import Authority, Row
from services.mcp_health.check_registry import Catalogue
from services.mcp_health.compliance import OUR_SERVICES, Measurement, Question, Report, Standard, Status
from services.mcp_health.metrics import Metrics
from services.mcp_health.settings import McpHealthSettings

#: A span that left this long ago and is not in Jaeger did not arrive, seconds.
TRACE_PATIENCE_SECONDS = 60.0
_FIT = frozenset({Level.HEALTHY, Level.DEGRADED})


@dataclass(frozen=True, slots=True)
class SentTrace:
    trace_id: str
    at: float  #: seconds since the epoch


class Auditor:
    """Keeps the newest measurement of every question."""

    def __init__(
        self,
        *,
        settings: McpHealthSettings,
        telemetry: Telemetry,
        clock: Clock,
        catalogue: Catalogue,
        authority: Authority,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self.clock = clock
        self._catalogue = catalogue
        self._authority = authority
        self._metrics = metrics
        self.measurements: dict[str, Measurement] = {}
        self._doors = {service: Doors() for service in OUR_SERVICES}
        self._due: dict[str, float] = {}
        self._sent: SentTrace | None = None
        self._publish()

    def report(self) -> Report:
        valid = 3 * self._settings.compliance_interval_seconds
        return compliance.assess(self.measurements, self.clock.time(), valid)

    async def watch(self) -> None:
        """Measures until cancelled."""
        while True:
            # When it fails the measurements grow old and then count as unknown, so that this cannot hide.
            with suppress_and_log("audit_failed"):
                await self.measure()
            await asyncio.sleep(self._settings.check_interval_seconds)

    async def measure(self) -> None:
        """One round."""
        self.measurements |= self._seen_from_here()
        self.measurements[Question.TRANSPORT] = await self._transport()
        await asyncio.gather(*(self._try_doors(service) for service in OUR_SERVICES))
        self.measurements[Question.LISTENERS] = await self._listeners()
        self.measurements[Question.TRACES] = await self._traces()
        self._publish()

    def _publish(self) -> None:
        report = self.report()
        for standard in Standard:
            rows = report.of(standard)
            counts = {status.value: found for status, found in compliance.count(rows).items()}
            self._metrics.standard(standard, compliance.score(rows), counts)

    def _seen_from_here(self) -> dict[str, Measurement]:
        now = self.clock.time()
        settings = self._settings
        rows = {row.check.id: row for row in self._authority.rows()}
        return {
            Question.KEY_FILE: posture.key_file(_key_file(settings), now),
            Question.DATA_FILES: posture.data_files(settings.data_dir, now),
            Question.REDACTION: posture.redaction(logging.getLogger().handlers, now),
            Question.STORE: posture.store(self._catalogue.health.get("bridge"), now),
            Question.MONITORING: from_rows([rows["scrape_targets"]], {Level.HEALTHY}),
            Question.ALERT_PATH: from_rows(_configured(rows, ("alert_relay", "alertmanager")), _FIT),
            Question.CAPACITY: from_rows([rows["memory"], rows["disk"]], {Level.HEALTHY}),
        }

    async def _transport(self) -> Measurement:
        """Names are resolved anew now and then: a container that was made again has another address."""
        known = self.measurements.get(Question.TRANSPORT)
        if known and not self._is_due(Question.TRANSPORT):
            return known
        addresses = {name: url for name, url in self._catalogue.addresses.items() if url is not None}
        hosts = [urlsplit(url).hostname or "" for url in addresses.values()]
        seen = await asyncio.to_thread(transport.network, hosts)
        if all(seen.resolved.values()):  # who has no address yet is looked for again soon
            self._due[Question.TRANSPORT] = self._next()
        return transport.measure(addresses, seen, self.clock.time())

    async def _listeners(self) -> Measurement:
        """Looking through a machine's sockets is work: in a thread, and not again once it is known."""
        known = self.measurements.get(Question.LISTENERS)
        if known and known.status is not Status.UNKNOWN and not self._is_due(Question.LISTENERS):
            return known
        self._due[Question.LISTENERS] = self._next()
        addresses = self._catalogue.addresses
        ours = {name: address for name in OUR_SERVICES if (address := addresses[name]) is not None}
        found = await asyncio.to_thread(posture.listening)
        return posture.listeners(ours, found, self.clock.time())

    def _is_due(self, what: str) -> bool:
        return self.clock.monotonic() >= self._due.get(what, 0.0)

    def _next(self) -> float:
        return self.clock.monotonic() + self._settings.compliance_interval_seconds

    async def _try_doors(self, service: str) -> None:
        if not self._is_due(service):
            return
        try:
            async with asyncio.timeout(2 * self._settings.check_timeout_seconds):
                now = self.clock.time()
                found = await auth_probe.measure(self._catalogue.clients[service], self._doors[service], now)
        except (probes.CallError, TimeoutError) as error:
            # Not there: tried again in the next round, what was measured before grows old meanwhile.
            reason = str(error) or "no answer in time"
            for question in (Question.ACCESS, Question.REFUSALS, Question.IDENTIFIERS):
                unknown = Measurement(Status.UNKNOWN, {"reason": reason})
                self.measurements.setdefault(f"{question}.{service}", unknown)
            return
        self._due[service] = self._next()
        self.measurements[f"{Question.ACCESS}.{service}"] = found.access
        self.measurements[f"{Question.REFUSALS}.{service}"] = found.refusals
        self.measurements[f"{Question.IDENTIFIERS}.{service}"] = found.identifiers

    async def _traces(self) -> Measurement:
        """Sends a span of its own to the collector, and asks Jaeger for it by its id."""
        jaeger = self._catalogue.clients.get("jaeger")
        if jaeger is None or not self._telemetry.exports_spans:
            missing = "JAEGER_URL" if jaeger is None else "OTEL_EXPORTER_OTLP_ENDPOINT"
            return Measurement(Status.UNKNOWN, {"reason": f"not configured ({missing})"})
        sent = self._sent
        if sent is None:
            self._sent = self._send_trace()
            return Measurement(Status.UNKNOWN, {"reason": "a trace was sent and is not looked for yet"})
        found = await self._look_for(jaeger, sent)
        known = self.measurements[Question.TRACES]
        if found.status is Status.UNKNOWN and known.measured_at is not None:
            return known
        if self.clock.time() - sent.at >= self._settings.compliance_interval_seconds:
            self._sent = self._send_trace()
        return found

    def _send_trace(self) -> SentTrace:
        now = self.clock.time()
        context = TraceContext(new_trace_id(), new_span_id(), sampled=True)
        self._telemetry.write(FinishedSpan("audit", context, None, now, now))
        return SentTrace(f"{context.trace_id:032x}", now)

    async def _look_for(self, jaeger: httpx.AsyncClient, sent: SentTrace) -> Measurement:
        now = self.clock.time()
        evidence = {"trace_id": sent.trace_id, "sent_seconds_ago": round(now - sent.at, 1)}
        try:
            path, endpoint = f"/api/traces/{sent.trace_id}", "/api/traces/{id}"
            reply = await probes.call(jaeger, path, endpoint=endpoint)
        except probes.CallError as error:
            return Measurement(Status.UNKNOWN, {"reason": f"jaeger: {error}"})
        if reply.status == httpx.codes.OK and sent.trace_id.encode() in reply.body:
            return Measurement(Status.PASSED, evidence, now)
        if now - sent.at < TRACE_PATIENCE_SECONDS:
            return Measurement(Status.UNKNOWN, evidence | {"reason": "not there yet"})
        return Measurement(Status.FAILED, evidence, now)


def _key_file(settings: McpHealthSettings) -> Path | None:
    if settings.api_key is None:
        return settings.data_dir / "api_key"
    return settings.api_key_file


def _configured(rows: Mapping[str, Row], names: Iterable[str]) -> list[Row]:
    return [rows[name] for name in names if rows[name].check.probe is not None]


def from_rows(rows: Sequence[Row], fit: "set[Level] | frozenset[Level]") -> Measurement:
    """What health checks say, as a measurement: unknown while one of them is."""
    evidence = {row.check.id: row.brief() for row in rows}
    times = [row.last_check for row in rows if row.last_check is not None]
    measured_at = min(times, default=None)
    levels = {row.level for row in rows}
    if levels - fit - {Level.UNKNOWN}:
        return Measurement(Status.FAILED, evidence, measured_at)
    known = bool(levels) and Level.UNKNOWN not in levels
    return Measurement(Status.PASSED if known else Status.UNKNOWN, evidence, measured_at)
