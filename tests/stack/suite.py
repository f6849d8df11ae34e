"""Runs the embedded suite in its own process, with Prometheus and Alertmanager."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.stack import config, servers
from tests.stack.servers import Server

# The variable that sets the port of each service.
PORTS = {
    "bridge": "BRIDGE_PORT",
    "mcp-health": "MCP_HEALTH_PORT",
    "alert-relay": "ALERT_RELAY_PORT",
    "dashboard": "MONITORING_SERVER_PORT",
    "telegram-sandbox": "SANDBOX_PORT",
}
# Targets that exist in Docker Compose only.
ONLY_IN_COMPOSE = {"gateway", "grafana", "jaeger"}
CHAT = 1001


@dataclass(frozen=True)
class Suite:
    """A running suite: URLs of its services, its environment and its folder."""

    urls: dict[str, str]
    environment: dict[str, str]
    folder: Path

    def demo(self) -> None:
        """Runs ``make demo``."""
        subprocess.run(
            [sys.executable, "-m", "services.demo"],
            cwd=servers.REPOSITORY,
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def texts(self) -> list[str]:
        """Returns the texts in the sandbox's chat."""
        url = f"{self.urls['telegram-sandbox']}/api/chats/{CHAT}/messages"
        answer = httpx.get(url, params={"limit": 1000}, timeout=10)
        answer.raise_for_status()
        return [shown["message"].get("text", "") for shown in answer.json()["messages"]]


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[Suite]:
    """Runs ``python -m services`` on free ports, with its data in the folder, and further variables."""
    ports = {name: free_port() for name in PORTS}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    environment = {PORTS[name]: str(port) for name, port in ports.items()} | {
        "HOST": "127.0.0.1",
        "DATA_DIR": str(folder / "data"),
        # The test sends many messages; rate limits would delay them.
        "TELEGRAM_CHAT_PER_SECOND": "0",
        "SANDBOX_LIMITS": "false",
        **variables,
    }
    command = [sys.executable, "-m", "services"]
    log = folder / "suite.log"
    bridge = urls["bridge"]
    with servers.started(command, bridge, log, ready="/health/live", environment=environment, seconds=60):
        for name, url in urls.items():
            servers.until(f"{name} at {url}", partial(_ready, url), 30)
        yield Suite(urls, environment, folder)


def _ready(url: str) -> bool:
    return httpx.get(f"{url}/health/ready", timeout=5).is_success


@dataclass(frozen=True)
class Watched:
    """The suite with the programs that monitor it."""

    suite: Suite
    prometheus: Server
    alertmanager: Server
    postgres: servers.Postgres
    addresses: dict[str, str]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found = self.prometheus.get("/api/v1/query", query=expression)["data"]["result"]
        return list(found) if isinstance(found, list) else []

    def pages(self) -> dict[str, str]:
        """Returns the metrics page of every target, by job."""
        return {
            job: httpx.get(f"http://{address}/metrics", timeout=10).text
            for job, address in self.addresses.items()
        }


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Runs the suite, exporters, and Prometheus and Alertmanager with our configuration."""
    with ExitStack() as stack:
        ports = {"prometheus": free_port(), "alertmanager": free_port()}
        read = {"ALERTMANAGER_URL": f"http://127.0.0.1:{ports['alertmanager']}"}
        suite = stack.enter_context(running(folder, **read))
        postgres = stack.enter_context(servers.postgres(folder))
        exporters = {
            "node-exporter": stack.enter_context(servers.node_exporter(folder)),
            "redis-exporter": stack.enter_context(servers.redis_exporter(folder)),
            "postgres-exporter": stack.enter_context(servers.postgres_exporter(folder, postgres.port)),
        }
        addresses = {name: url.removeprefix("http://") for name, url in suite.urls.items()}
        addresses |= {name: server.address for name, server in exporters.items()}
        addresses |= {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        alertmanager = stack.enter_context(
            servers.alertmanager(_notifying(suite), folder, ports["alertmanager"])
        )
        prometheus = stack.enter_context(
            servers.prometheus(
                config.write_prometheus(folder, addresses, config.impatient), folder, ports["prometheus"]
            )
        )
        yield Watched(suite, prometheus, alertmanager, postgres, addresses)


def _notifying(suite: Suite) -> Path:
    """Writes alertmanager.yml with alert-relay's address, the key file, and no group wait."""
    url = f"{suite.urls['alert-relay']}/webhook/alert"
    key_file = suite.folder / "data" / "api_key"
    original = config.load(config.ALERTMANAGER / "alertmanager.yml")
    path = suite.folder / "alertmanager.yml"
    path.write_text(json.dumps(config.notifying(original, url, key_file, hasten=True)))
    return path
