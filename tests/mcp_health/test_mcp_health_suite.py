"""mcp-health beside the real services, a real Prometheus and a real Alertmanager."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests import servers
from tests.ports import free_port

OURS = ("bridge", "alert_relay", "dashboard")
REPOSITORY = Path(__file__).parents[2]
SERVICES = {
    "bridge": "BRIDGE_PORT",
    "alert_relay": "ALERT_RELAY_PORT",
    "dashboard": "MONITORING_SERVER_PORT",
    "mcp_health": "MCP_HEALTH_PORT",
    "sandbox": "SANDBOX_PORT",
}
PROMETHEUS_CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: mcp-health
    static_configs: [{{targets: ["127.0.0.1:{mcp_health}"]}}]
  - job_name: gone
    static_configs: [{{targets: ["127.0.0.1:{unreachable}"]}}]
"""
RULES = """
groups:
  - name: test
    rules:
      - {alert: Watchdog, expr: vector(1), labels: {severity: none}}
      - {alert: EverythingIsBad, expr: vector(1), labels: {severity: critical}}
"""
ALERTMANAGER_CONFIG = "{route: {receiver: nobody}, receivers: [{name: nobody}]}"


def log_text(log: Path) -> str:
    return log.read_text()


@asynccontextmanager
async def program(log: Path, *command: str, **environment: str) -> AsyncIterator[None]:
    """A program of the machine for the length of a block."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        assert process.returncode is None, log_text(log)
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


@dataclass
class Suite:
    health: httpx.AsyncClient
    data: Path

    async def until(self, path: str, ready: Callable[[Any], bool]) -> Any:
        """Waits until the answer of a path fulfils a condition, and returns it."""
        body: Any = None
        try:
            async with asyncio.timeout(60):
                while body is None or not ready(body):
                    await asyncio.sleep(0.1)
                    body = await self._get(path)
        except TimeoutError:
            raise AssertionError(body) from None
        return body

    async def _get(self, path: str) -> Any:
        try:
            return (await self.health.get(path)).json()
        except httpx.TransportError:
            return None


@asynccontextmanager
async def suite(folder: Path, **more: str) -> AsyncIterator[Suite]:
    """``python -m services`` on free ports; more environment may name further programs."""
    ports = dict(zip(SERVICES, (free_port() for _ in SERVICES), strict=True))
    ports |= {name: int(port) for name, port in more.items() if name in SERVICES}
    urls = {f"{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    environment = {SERVICES[name]: str(port) for name, port in ports.items()} | urls
    settings = {name: value for name, value in more.items() if name not in SERVICES}
    data = folder / "data"
    async with (
        program(
            folder / "suite.log",
            sys.executable,
            "-m",
            "services",
            DATA_DIR=str(data),
            CHECK_INTERVAL_SECONDS="1",
            **environment,
            **settings,
        ),
        servers.http(urls["MCP_HEALTH_URL"]) as client,
    ):
        yield Suite(client, data)


def statuses(body: Any, words: str) -> set[str]:
    rows = [row for found in body["standards"].values() for row in found if words in row["supports"]]
    return {row["status"] for row in rows}


async def test_the_real_suite_is_healthy_and_keeps_what_can_be_measured(tmp_path: Path) -> None:
    async with suite(tmp_path) as running:
        whole = await running.until(
            "/health",
            lambda body: all(
                body["services"][name]["status"] == "healthy"
                for name in ("bridge", "alert_relay", "dashboard")
            ),
        )
        assert whole["services"]["telegram_sandbox"]["status"] == "healthy"
        assert "database" in whole["services"]["bridge"]["components"]
        measured = (
            "with a wrong one, are refused",
            "a refused request is counted",
            "metrics hold no bot token",
            "API key's file",
            "stored messages are closed",
            "do not reach the log",
            "listen on loopback",
            "stay on this machine",
        )
        body = await running.until(
            "/health/compliance",
            lambda body: all(statuses(body, statement) == {"passed"} for statement in measured),
        )
        # Without Prometheus, Alertmanager and Jaeger there is nothing to measure these by.
        for statement in ("Prometheus scrapes", "from its trace", "the Watchdog alert arrives"):
            assert statuses(body, statement) == {"unknown"}, statement
        assert body["score"] < 100
        assert max(body["scores"].values()) <= 100
        assert not [path for path in running.data.rglob("*") if path.stat().st_mode & 0o077]


async def test_a_real_prometheus_and_alertmanager_are_checked_deeply(tmp_path: Path) -> None:
    mcp_health, prometheus, alertmanager, unreachable = (free_port() for _ in range(4))
    config = PROMETHEUS_CONFIG.format(mcp_health=mcp_health, unreachable=unreachable)
    (tmp_path / "prometheus.yml").write_text(config)
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "alertmanager.yml").write_text(ALERTMANAGER_CONFIG)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            program(
                tmp_path / "prometheus.log",
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/prometheus",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )
        )
        await stack.enter_async_context(
            program(
                tmp_path / "alertmanager.log",
                "prometheus-alertmanager",
                f"--config.file={tmp_path}/alertmanager.yml",
                f"--storage.path={tmp_path}/alertmanager",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            )
        )
        running = await stack.enter_async_context(
            suite(
                tmp_path,
                mcp_health=str(mcp_health),
                PROMETHEUS_URL=f"http://127.0.0.1:{prometheus}",
                ALERTMANAGER_URL=f"http://127.0.0.1:{alertmanager}",
            )
        )
        whole = await running.until(
            "/health",
            lambda body: (
                body["services"]["alertmanager"]["status"] == "healthy"
                and body["components"]["scrape_targets"].get("up") == 1
                # Prometheus asks one target after the other: until then it is neither up nor down.
                and len(body["components"]["scrape_targets"]["down_targets"]) == 1
                and body["components"]["firing_alerts"].get("firing") == 2
            ),
        )
    assert whole["services"]["alertmanager"]["cluster"] == "disabled"
    (down,) = whole["components"]["scrape_targets"]["down_targets"]
    assert down["job"] == "gone"
    assert "refused" in down["error"]
    assert whole["components"]["firing_alerts"]["names"] == ["EverythingIsBad", "Watchdog"]
    assert whole["components"]["firing_alerts"]["status"] == "degraded"
