"""Starts the measured program and the programs around it as processes, each pinned to a core."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import httpx
import psutil

from benchmarks import machine
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests import servers
from tests.ports import free_port

KEY = "cct_benchmark_key_of_some_length"
TOKEN = DEFAULT_TOKEN
FIRST_CHAT = 100_000
PATIENCE_SECONDS = 60.0
ANY = -1
ROOT = Path(__file__).parent.parent


@dataclass
class Program:
    """A child process that answers HTTP."""

    process: "subprocess.Popen[bytes]"
    url: str
    client: httpx.Client = field(init=False)
    _psutil: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
        self._psutil = psutil.Process(self.process.pid)

    def cpu_seconds(self) -> float:
        """CPU time of all threads, also of threads that have ended."""
        # clock_getcpuclockid(3) of Linux in one line: it counts nanoseconds, /proc/PID/stat counts 10 ms.
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def memory_bytes(self) -> int:
        return int(self._psutil.memory_info().rss)

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(60)


class Bench:
    """The programs of one benchmark and their temporary folder; both end with the ``with`` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._logs: list[IO[bytes]] = []
        self.measured, self.other = machine.cores()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cctelegram-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, command: list[str], core: int, url: str, **environment: str) -> Program:
        """Starts ``python -m command`` with only these variables, and waits until it answers.

        Args:
            command: the module and its arguments.
            core: number of the core that it is pinned to, or ANY.
            url: where it answers ``/health/live``.
            environment: variables besides PATH, HOME and LANG.

        Raises:
            SystemExit: it ended or did not answer within a minute; the text contains its log.
        """
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        log = self._stack.enter_context((self.folder / f"{len(self._logs)}.log").open("w+b"))
        self._logs.append(log)
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, _pinned(core)),  # noqa: PLW1509 - no threads are running yet
        )
        program = Program(process, url)
        self._stack.callback(_end, program)
        if not _answers(program):
            log.seek(0)
            raise SystemExit(f"{command} did not start:\n{log.read().decode()}")
        return program

    def sandbox(self, name: str = "sandbox", *, core: int | None = None, **environment: str) -> Program:
        port = free_port()
        return self.start(
            ["services.telegram_sandbox"],
            self.other if core is None else core,
            f"http://127.0.0.1:{port}",
            DATA_DIR=str(self.folder / name),
            SANDBOX_PORT=str(port),
            SANDBOX_LIMITS="false",
            LOG_LEVEL="WARNING",
            **environment,
        )

    def bridge(
        self,
        sandbox_url: str,
        name: str,
        *,
        module: Sequence[str] = ("services.bridge",),
        core: int | None = None,
        **more: str,
    ) -> Program:
        """Starts a bridge with all rate limits off.

        Args:
            sandbox_url: the Bot API server that it calls.
            name: of its data folder.
            module: to run, with its arguments.
            core: unset: the measured core; ANY: not pinned.
            more: further environment variables; they override the defaults.
        """
        port = free_port()
        return self.start(
            [*module],
            self.measured if core is None else core,
            f"http://127.0.0.1:{port}",
            **{**self.settings(name), "BRIDGE_PORT": str(port), "TELEGRAM_API_URL": sandbox_url, **more},
        )

    def settings(self, name: str) -> Mapping[str, str]:
        return {
            "DATA_DIR": str(self.folder / name),
            "API_KEY": KEY,
            "RATE_LIMIT_PER_SECOND": "0",
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_BOT_PER_SECOND": "0",
            "TELEGRAM_CHAT_PER_SECOND": "0",
            "TELEGRAM_GROUP_PER_MINUTE": "0",
            "LOG_LEVEL": "WARNING",
        }

    def sqlite(self, name: str) -> str:
        return f"sqlite:///{self.folder / name}/bridge.db"

    def postgres(self, *, core: int | None = None) -> servers.Postgres | None:
        """Starts a PostgreSQL with fsync on the other core; None if it is not installed."""
        programs = servers.postgres_programs()
        if programs is None:
            return None
        server = self._stack.enter_context(servers.postgres(programs, ()))
        os.sched_setaffinity(server.process.pid, _pinned(self.other if core is None else core))
        return server


def cpu_of_family(pid: int) -> float:
    """CPU seconds of a process, of its children, and of children that have ended."""
    parent = psutil.Process(pid)
    times = [parent.cpu_times()]
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):
            times.append(child.cpu_times())
    ended = times[0].children_user + times[0].children_system
    return float(sum(one.user + one.system for one in times) + ended)


def _pinned(core: int) -> set[int]:
    return os.sched_getaffinity(0) if core == ANY else {core}


def _end(program: Program) -> None:
    if program.process.poll() is None:
        program.stop()


def _answers(program: Program) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while program.process.poll() is None and time.monotonic() < deadline:
        try:
            program.client.get("/health/live").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return True
    return False


def make_chats(sandbox: Program, count: int) -> None:
    """Creates private chats with ids from FIRST_CHAT up, all open to the bot."""
    sandbox.client.post(
        "/control/chats/range", json={"first_id": FIRST_CHAT, "count": count}
    ).raise_for_status()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pins this process to one core during the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def concurrently(concurrency: int, count: int, one: Any) -> float:
    """Awaits ``one(number)`` for each number below count, ``concurrency`` at a time.

    Returns:
        How many a second.
    """
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return count / (time.perf_counter() - start)
