"""The list of checks: which program each of them calls, and how its answer is judged."""

from functools import partial

import httpx

from services.contracts.health import CheckType, HealthReport
from services.kit.clock import Clock
from services.kit.health import Measurement
from services.kit.http_client import client
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.internal import own_mark
from services.mcp_health import checks, host_metrics, probes
from services.mcp_health.authority import Check, Probe
from services.mcp_health.probes import PrometheusAnswers
from services.mcp_health.settings import McpHealthSettings

#: Services that believe the mark of the suite's own requests; other programs must not get its secret.
_OF_THE_SUITE = frozenset({"bridge", "alert_relay", "dashboard", "telegram_sandbox"})


class CheckRegistry:
    """Builds the checks; it has the HTTP clients, and stores the last report of each service of the suite."""

    def __init__(self, settings: McpHealthSettings, telemetry: Telemetry, clock: Clock) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._cpu = host_metrics.CpuUsage(clock)
        #: URL of each dependency; None if it is not configured.
        self.addresses: dict[str, str | None] = {
            "bridge": settings.bridge_url,
            "alert_relay": settings.alert_relay_url,
            "dashboard": settings.dashboard_url,
            "prometheus": settings.prometheus_url,
            "alertmanager": settings.alertmanager_url,
            "grafana": settings.grafana_url,
            "jaeger": settings.jaeger_url,
        }
        if settings.sandbox_url is not None:
            self.addresses["telegram_sandbox"] = settings.sandbox_url
        mark = own_mark(settings, telemetry.name)
        self.clients: dict[str, httpx.AsyncClient] = {
            name: client(
                telemetry,
                name,
                address,
                timeout=settings.check_timeout_seconds,
                internal=mark if name in _OF_THE_SUITE else None,
            )
            for name, address in self.addresses.items()
            if address is not None
        }
        #: Last report of each service of the suite; removed when a call fails.
        self.reports: dict[str, HealthReport] = {}
        self._prometheus: PrometheusAnswers | None = None

    async def close(self) -> None:
        for each in self.clients.values():
            await each.aclose()

    def checks(self) -> list[Check]:
        found = [
            self._dependency("bridge", "Bridge", self._service("bridge"), critical=True),
            self._dependency("alert_relay", "Alert relay", self._service("alert_relay"), critical=True),
            self._dependency("dashboard", "Dashboard", self._service("dashboard")),
            self._dependency("prometheus", "Prometheus", self._check_prometheus),
            self._dependency("alertmanager", "Alertmanager", self._check_alertmanager),
            self._dependency("grafana", "Grafana", self._check_grafana),
            self._dependency("jaeger", "Jaeger", self._check_jaeger),
            Check("memory", "Memory", CheckType.SYSTEM, self._memory),
            Check("disk", "Disk of DATA_DIR", CheckType.SYSTEM, self._disk),
            Check("event_loop", "Event loop of this process", CheckType.SYSTEM, self._event_loop),
            Check("cpu", "CPU usage", CheckType.SYSTEM, self._cpu_usage),
            self._derived("scrape_targets", "Scrape targets of Prometheus", self._scrape_targets),
            self._derived("firing_alerts", "Firing alerts of Prometheus", self._firing_alerts),
        ]
        if "telegram_sandbox" in self.clients:
            sandbox = self._service("telegram_sandbox")
            found.append(self._dependency("telegram_sandbox", "Telegram sandbox", sandbox))
        return found

    def _dependency(self, check_id: str, name: str, probe: Probe, *, critical: bool = False) -> Check:
        if check_id in self.clients:
            return Check(check_id, name, CheckType.DEPENDENCY, probe, critical)
        reason = f"not configured ({check_id.upper()}_URL)"
        return Check(check_id, name, CheckType.DEPENDENCY, None, critical, reason)

    def _derived(self, check_id: str, name: str, probe: Probe) -> Check:
        if "prometheus" in self.clients:
            return Check(check_id, name, CheckType.CUSTOM, probe)
        return Check(check_id, name, CheckType.CUSTOM, None, reason="not configured (PROMETHEUS_URL)")

    def _service(self, name: str) -> Probe:
        return partial(self._check_service, name)

    async def _check_service(self, name: str) -> Measurement:
        answer = None
        try:
            answer = await probes.own_service(self.clients[name])
        finally:  # meanwhile the last report stays; also a timeout ends it
            self._store_report(name, answer)
        return checks.own_service(answer)

    def _store_report(self, name: str, report: HealthReport | None) -> None:
        self.reports.pop(name, None)
        if report is not None:
            self.reports[name] = report

    async def _check_prometheus(self) -> Measurement:
        answer = None
        try:
            answer = await probes.prometheus(self.clients["prometheus"])
        finally:
            self._prometheus = answer
        return checks.prometheus(answer.targets, answer.alerts)

    async def _check_alertmanager(self) -> Measurement:
        answer = await probes.alertmanager(self.clients["alertmanager"])
        return checks.alertmanager(answer.status, answer.alerts, answer.silences)

    async def _check_grafana(self) -> Measurement:
        return checks.grafana(await probes.grafana(self.clients["grafana"]))

    async def _check_jaeger(self) -> Measurement:
        return checks.jaeger(await probes.jaeger(self.clients["jaeger"]))

    async def _scrape_targets(self) -> Measurement:
        known = self._prometheus
        return checks.scrape_targets(known.targets) if known else checks.no_answer("prometheus")

    async def _firing_alerts(self) -> Measurement:
        known = self._prometheus
        return checks.firing_alerts(known.alerts) if known else checks.no_answer("prometheus")

    async def _memory(self) -> Measurement:
        used, total = host_metrics.memory()
        return checks.memory(used, total)

    async def _disk(self) -> Measurement:
        used, free = host_metrics.disk(self._settings.data_dir)
        return checks.disk(used, free)

    async def _event_loop(self) -> Measurement:
        return checks.event_loop(await host_metrics.loop_lag())

    async def _cpu_usage(self) -> Measurement:
        percent, seconds = self._cpu.average()
        return checks.cpu(percent, seconds, self._telemetry.cpu_percent())
