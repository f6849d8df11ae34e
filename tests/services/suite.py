"""The whole suite in a process of its own, as ``python -m services`` runs it, on free ports."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PORTS = {
    "telegram-sandbox": "SANDBOX_PORT",
    "bridge": "BRIDGE_PORT",
    "alert-relay": "ALERT_RELAY_PORT",
    "mcp-health": "MCP_HEALTH_PORT",
    "dashboard": "MONITORING_SERVER_PORT",
}
URLS = {
    "telegram-sandbox": "SANDBOX_URL",
    "bridge": "BRIDGE_URL",
    "alert-relay": "ALERT_RELAY_URL",
    "mcp-health": "MCP_HEALTH_URL",
    "dashboard": "DASHBOARD_URL",
}


@dataclass
class Suite:
    """A running suite: what it printed until it was ready, where its services are, its data."""

    process: "subprocess.Popen[str]"
    printed: str
    urls: dict[str, str]
    environment: dict[str, str]
    data: Path

    @property
    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data / 'api_key').read_text().strip()}"}

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def demo(self, *arguments: str, **variables: str) -> str:
        """Runs ``make demo`` and returns what it prints."""
        command = [sys.executable, "-m", "services.demo", *arguments]
        environment = self.environment | variables
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout


def start(
    data: Path,
    errors: Path,
    ports: Mapping[str, int] | None = None,
    arguments: Sequence[str] = (),
    **variables: str,
) -> Suite:
    """Starts a suite, and returns once all its services have started.

    Args:
        data: folder of its data.
        errors: file of its stderr.
        ports: of its services, by name; None: free ones.
        arguments: of the command line.
        variables: further environment variables.
    """
    ports = {name: free_port() for name in PORTS} if ports is None else ports
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(data)}
    environment |= {PORTS[name]: str(port) for name, port in ports.items()}
    environment |= {URLS[name]: url for name, url in urls.items()}
    environment |= variables
    with errors.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:  # ends with the process, if that never gets ready
        printed += line
        if "data, logs and the API key" in line:
            return Suite(process, printed, urls, environment, data)
    raise AssertionError(errors.read_text())


def end(suite: Suite, number: signal.Signals = signal.SIGKILL) -> None:
    """Ends a suite, whatever it is doing."""
    suite.stop(number)
    assert suite.process.stdout is not None
    suite.process.stdout.close()
