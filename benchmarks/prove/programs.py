"""The programs of the proof: each is a process that can be killed and started again."""

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.servers import Postgres, postgres, postgres_programs

ROOT = Path(__file__).parents[2]
KEY = "cct_key-of-the-proof"
#: The bot of the whole suite; the sandbox accepts it beside its own.
SUITE_TOKEN = "1000000002:token-of-the-proof-for-the-sandbox-only"
START_SECONDS = 60.0
#: Timeout of one request while a service starts or stops.
PATIENCE = 5.0


@dataclass
class Program:
    """A process, and the file that its output goes to."""

    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    #: It answers here when it is ready.
    ready_url: str = ""
    kills: list[float] = field(default_factory=list)
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.arguments,
                env={**os.environ, **self.environment},
                cwd=ROOT,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads are running yet in this process
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "start() comes first"  # noqa: S101 - a mistake in the proof itself
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def ready(self) -> None:
        """Waits until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the text contains the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            while time.monotonic() < deadline and self.runs:
                try:
                    if (await client.get(self.ready_url)).status_code < 500:
                        return
                except httpx.HTTPError:
                    await asyncio.sleep(0.03)
        raise RuntimeError(f"{self.arguments} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None and self.runs:
            self.kills.append(time.time())
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self.runs:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _die_with_parent() -> None:
    """Makes Linux kill this child when the proof ends, also when the proof is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def sandbox(folder: Path) -> Program:
    """The sandbox without Telegram's limits: it fails only by the faults that a scenario sets."""
    port = free_port()
    environment = {
        "HOST": "127.0.0.1",
        "SANDBOX_PORT": str(port),
        "DATA_DIR": str(folder / "sandbox"),
        "SANDBOX_LOG_FILE": str(folder / "telegram.jsonl"),
        "SANDBOX_LIMITS": "false",
        "SANDBOX_TOKENS": SUITE_TOKEN,
        "LOG_LEVEL": "WARNING",
    }
    url = f"http://127.0.0.1:{port}"
    arguments = [sys.executable, "-m", "services.telegram_sandbox"]
    return Program(arguments, environment, folder / "sandbox.log", url)


def bridge(folder: Path, name: str, telegram: str, module: str, environment: Mapping[str, str]) -> Program:
    """A bridge alone."""
    settings = _settings(folder, telegram)
    url = f"http://127.0.0.1:{settings['BRIDGE_PORT']}"
    arguments = [sys.executable, "-m", module]
    return Program(arguments, settings | dict(environment), folder / f"{name}.log", url)


def suite(
    folder: Path, telegram: str, alert_chat: int, environment: Mapping[str, str]
) -> tuple[Program, str]:
    """All services in one process, as ``make run`` starts them, but with a sandbox that survives a kill.

    Args:
        folder: for all files.
        telegram: URL of the sandbox.
        alert_chat: recipient of the alerts.
        environment: further variables.

    Returns:
        The program, which is ready when its bridge answers, and the URL of alert-relay.
    """
    relay_port = str(free_port())
    settings = _settings(folder, telegram) | {
        "ALERT_RELAY_PORT": relay_port,
        "MCP_HEALTH_PORT": str(free_port()),
        "MONITORING_SERVER_PORT": str(free_port()),
        "SANDBOX_PORT": telegram.rpartition(":")[2],
        # A token of its own: without one the suite starts a sandbox of its own.
        "TELEGRAM_BOT_TOKEN": SUITE_TOKEN,
        "TELEGRAM_CHAT_IDS": str(alert_chat),
    }
    url = f"http://127.0.0.1:{settings['BRIDGE_PORT']}"
    program = Program(
        [sys.executable, "-m", "services"], settings | dict(environment), folder / "suite.log", url
    )
    return program, f"http://127.0.0.1:{relay_port}"


def _settings(folder: Path, telegram: str) -> dict[str, str]:
    """No rate limits, and quick retries, so that the proof ends soon."""
    return {
        "HOST": "127.0.0.1",
        "BRIDGE_PORT": str(free_port()),
        "DATA_DIR": str(folder / "data"),
        "API_KEY": KEY,
        "TELEGRAM_API_URL": telegram,
        "TELEGRAM_BOT_PER_SECOND": "0",
        "TELEGRAM_CHAT_PER_SECOND": "0",
        "TELEGRAM_GROUP_PER_MINUTE": "0",
        "RATE_LIMIT_PER_SECOND": "0",
        "RETRY_BASE_SECONDS": "0.2",
        "RETRY_CAP_SECONDS": "2",
        "SHUTDOWN_GRACE_SECONDS": "5",
        "LOG_LEVEL": "WARNING",
    }


def redis(folder: Path) -> Program:
    """A Redis that writes nothing to disk: a restart loses all its data."""
    port = free_port()
    program = shutil.which("redis-server") or "redis-server"
    arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return Program(
        [*arguments, "--dir", str(folder)], {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}, folder / "redis.log"
    )


def durable_postgres() -> Any:
    """A PostgreSQL with its default settings: a commit is on disk before it is answered.

    Raises:
        FileNotFoundError: it is not installed.
    """
    programs = postgres_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed (make servers)")
    return postgres(programs, ("-c", "max_connections=60"))


async def restart(server: Postgres, number: signal.Signals, down: float) -> None:
    """Stops the server by a signal and starts it again.

    Args:
        server: to restart.
        number: SIGINT for a fast shutdown, SIGQUIT for an immediate one.
        down: seconds between stop and start.
    """
    server.signal(number)
    await asyncio.to_thread(server.process.wait, 30)
    await asyncio.sleep(down)
    await asyncio.to_thread(server.start)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mounts a small file system on a new folder, if this user may; yields whether it is mounted."""
    folder.mkdir(parents=True)
    size = f"size={megabytes}m,mode=0700"
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=False)
