"""Measures the findings of the compliance controls again and again.

Local findings are measured with every round of checks. The authentication of the other services is
probed once in the compliance interval: a service that does not know the mark of the suite's own requests
counts a probe as a failed login.
"""

import asyncio
import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from services.contracts.health import ControlStatus
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
from services.mcp_health import compliance, posture, probes, transport
from services.mcp_health.auth_probe import AuthProbe
from services.mcp_health.authority import Authority, CheckResult
from services.mcp_health.check_registry import CheckRegistry
from services.mcp_health.compliance import OUR_SERVICES, Assessment, Finding, Question, Standard
from services.mcp_health.metrics import Metrics
from services.mcp_health.settings import McpHealthSettings

#: A span that Jaeger does not have after this many seconds is lost.
TRACE_PATIENCE_SECONDS = 60.0
#: Jobs that the rules of Prometheus read.
JOBS = frozenset({"bridge", "mcp-health", "alert-relay", "dashboard"})


@dataclass(frozen=True, slots=True)
class SentTrace:
    trace_id: str
    at: float  #: seconds since the epoch


class Auditor:
    """Stores the newest finding of every question.

    Args:
        settings: of the service.
        telemetry: sends the span that is looked for in Jaeger.
        clock: the time.
        registry: the clients and last reports of the services.
        authority: the results of the checks.
        metrics: gets the scores.
    """

    def __init__(
        self,
        *,
        settings: McpHealthSettings,
        telemetry: Telemetry,
        clock: Clock,
        registry: CheckRegistry,
        authority: Authority,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self.clock = clock
        self._registry = registry
        self._authority = authority
        self._metrics = metrics
        self.findings: dict[str, Finding] = {}
        self._auth_probes = {service: AuthProbe() for service in OUR_SERVICES}
        self._due: dict[str, float] = {}
        self._sent: SentTrace | None = None
        self._publish()

    def assessment(self) -> Assessment:
        valid = 3 * self._settings.compliance_interval_seconds
        return compliance.assess(self.findings, self.clock.time(), valid)

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            # If rounds fail, the findings become too old and count as unknown.
            with suppress_and_log("audit_failed"):
                await self.measure()
            await asyncio.sleep(self._settings.check_interval_seconds)

    async def measure(self) -> None:
        """Runs one round."""
        self.findings |= self._local_findings()
        self.findings[Question.TRANSPORT] = await self._transport()
        await asyncio.gather(*(self._probe_auth(service) for service in OUR_SERVICES))
        self.findings[Question.LISTENERS] = await self._listeners()
        self.findings[Question.TRACES] = await self._traces()
        self._publish()

    def _publish(self) -> None:
        assessment = self.assessment()
        for standard in Standard:
            results = assessment.of(standard)
            counts = {status.value: number for status, number in compliance.count(results).items()}
            self._metrics.standard(standard, compliance.score(results), counts)

    def _local_findings(self) -> dict[str, Finding]:
        now = self.clock.time()
        settings = self._settings
        results = {result.check.id: result for result in self._authority.results()}
        reports, alertmanager = self._registry.reports, results["alertmanager"]
        return {
            Question.KEY_FILE: posture.key_file(_key_file(settings), now),
            Question.DATA_FILES: posture.data_files(settings.data_dir, reports.get("bridge"), now),
            Question.REDACTION: posture.redaction(logging.getLogger().handlers, now),
            Question.STORE: posture.store(reports.get("bridge"), now),
            Question.MONITORING: monitoring(results["scrape_targets"]),
            Question.ALERT_PATH: posture.alert_path(
                reports.get("alert_relay"),
                results["alert_relay"].level,
                alertmanager.level if alertmanager.check.probe is not None else None,
                now,
            ),
            Question.CAPACITY: from_checks([results["memory"], results["disk"]], {Level.HEALTHY}),
        }

    async def _transport(self) -> Finding:
        """Resolves the names again in each interval: a restarted container has another address."""
        known = self.findings.get(Question.TRANSPORT)
        if known and not self._is_due(Question.TRANSPORT):
            return known
        addresses = {name: url for name, url in self._registry.addresses.items() if url is not None}
        hosts = [urlsplit(url).hostname or "" for url in addresses.values()]
        network = await asyncio.to_thread(transport.network, hosts)
        if all(
            network.resolved.values()
        ):  # a host without an address yet is resolved again in the next round
            self._due[Question.TRANSPORT] = self._next()
        return transport.measure(addresses, network, self.clock.time())

    async def _listeners(self) -> Finding:
        """Lists the sockets in a thread, and not again within the interval: it takes CPU time."""
        known = self.findings.get(Question.LISTENERS)
        if known and known.status is not ControlStatus.UNKNOWN and not self._is_due(Question.LISTENERS):
            return known
        self._due[Question.LISTENERS] = self._next()
        addresses = self._registry.addresses
        # The sandbox above all: it has no login.
        listed = (*OUR_SERVICES, "telegram_sandbox")
        ours = {name: address for name in listed if (address := addresses.get(name)) is not None}
        found = await asyncio.to_thread(posture.listening)
        return posture.listeners(ours, found, self.clock.time())

    def _is_due(self, name: str) -> bool:
        return self.clock.monotonic() >= self._due.get(name, 0.0)

    def _next(self) -> float:
        return self.clock.monotonic() + self._settings.compliance_interval_seconds

    async def _probe_auth(self, service: str) -> None:
        if not self._is_due(service):
            return
        try:
            async with asyncio.timeout(2 * self._settings.check_timeout_seconds):
                client, now = self._registry.clients[service], self.clock.time()
                found = await self._auth_probes[service].measure(client, now)
        except (probes.CallError, TimeoutError) as error:
            # The next round tries again; meanwhile the earlier findings stay, and become too old.
            unknown = Finding(ControlStatus.UNKNOWN, {"reason": str(error) or "no answer in time"})
            for question in (Question.ACCESS, Question.REFUSALS, Question.IDENTIFIERS):
                self.findings.setdefault(f"{question}.{service}", unknown)
            return
        self._due[service] = self._next()
        self.findings[f"{Question.ACCESS}.{service}"] = found.access
        self.findings[f"{Question.REFUSALS}.{service}"] = found.refusals
        self.findings[f"{Question.IDENTIFIERS}.{service}"] = found.identifiers

    async def _traces(self) -> Finding:
        """Sends a span to the collector, and looks for its trace in Jaeger."""
        jaeger = self._registry.clients.get("jaeger")
        if jaeger is None or not self._telemetry.exports_spans:
            missing = "JAEGER_URL" if jaeger is None else "OTEL_EXPORTER_OTLP_ENDPOINT"
            return Finding(ControlStatus.UNKNOWN, {"reason": f"not configured ({missing})"})
        sent = self._sent
        if sent is None:
            self._sent = self._send_trace()
            reason = "a trace was sent; the next round looks for it"
            return Finding(ControlStatus.UNKNOWN, {"reason": reason})
        found = await self._find_trace(jaeger, sent)
        known = self.findings[Question.TRACES]
        if found.status is ControlStatus.UNKNOWN and known.measured_at is not None:
            return known
        if self.clock.time() - sent.at >= self._settings.compliance_interval_seconds:
            self._sent = self._send_trace()
        return found

    def _send_trace(self) -> SentTrace:
        now = self.clock.time()
        context = TraceContext(new_trace_id(), new_span_id(), sampled=True)
        self._telemetry.export_if_sampled(FinishedSpan("audit", context, None, now, now))
        return SentTrace(f"{context.trace_id:032x}", now)

    async def _find_trace(self, jaeger: httpx.AsyncClient, sent: SentTrace) -> Finding:
        now = self.clock.time()
        evidence = {"trace_id": sent.trace_id, "sent_seconds_ago": round(now - sent.at, 1)}
        try:
            path, endpoint = f"/api/traces/{sent.trace_id}", "/api/traces/{id}"
            reply = await probes.call(jaeger, path, endpoint=endpoint)
        except probes.CallError as error:
            return Finding(ControlStatus.UNKNOWN, {"reason": f"jaeger: {error}"})
        if reply.status == httpx.codes.OK and sent.trace_id.encode() in reply.body:
            return Finding(ControlStatus.PASSED, evidence, now)
        if now - sent.at < TRACE_PATIENCE_SECONDS:
            return Finding(ControlStatus.UNKNOWN, evidence | {"reason": "not there yet"})
        return Finding(ControlStatus.FAILED, evidence, now)


def _key_file(settings: McpHealthSettings) -> Path | None:
    if settings.api_key is None:
        return settings.data_dir / "api_key"
    return settings.api_key_file


def monitoring(targets: CheckResult) -> Finding:
    """Passed if every target of Prometheus is up, and every service of the suite is among them."""
    found = from_checks([targets], {Level.HEALTHY})
    missing = sorted(JOBS - set(targets.evidence.get("jobs", ())))
    if found.status is not ControlStatus.PASSED or not missing:
        return found
    return Finding(ControlStatus.FAILED, {**found.evidence, "missing_jobs": missing}, found.measured_at)


def from_checks(results: Sequence[CheckResult], passing: AbstractSet[Level]) -> Finding:
    """Returns the results of health checks as a finding; it is as old as the oldest of them.

    Args:
        results: the checks.
        passing: levels that pass; an unknown level makes the finding unknown, any other one fails it.
    """
    evidence = {result.check.id: result.component().model_dump() for result in results}
    times = [result.last_check for result in results if result.last_check is not None]
    measured_at = min(times, default=None)
    levels = {result.level for result in results}
    if levels - passing - {Level.UNKNOWN}:
        return Finding(ControlStatus.FAILED, evidence, measured_at)
    known = bool(levels) and Level.UNKNOWN not in levels
    return Finding(ControlStatus.PASSED if known else ControlStatus.UNKNOWN, evidence, measured_at)
