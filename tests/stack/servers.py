"""Starts and stops the real programs of the stack's tests, on free ports."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port

REPOSITORY = Path(__file__).parents[2]
# The Debian package of each program.
PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "redis-server": "redis-server",
    "postgres": "postgresql",
    "initdb": "postgresql",
}
# Folders of programs that may not be on PATH.
FOLDERS = (
    "/usr/bin",
    "/usr/sbin",
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
)


class MissingProgramError(Exception):
    """A program that a test needs is not installed."""


def find(program: str) -> str:
    """Returns the path of a program.

    Raises:
        MissingProgramError: it is not installed; the text names the Debian package.
    """
    path = shutil.which(program) or shutil.which(program, path=":".join(FOLDERS))
    if path is None:
        package = PACKAGES[program]
        raise MissingProgramError(f"{program} is not installed: run `apt-get install {package}`")
    return path


def run(program: str, *arguments: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; the caller checks its exit code."""
    return subprocess.run(
        [find(program), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def until(what: str, check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Repeats a check until it returns a true value, and returns it.

    Raises:
        AssertionError: it was not true in time; with `what` and the last value.
    """
    give_up = time.monotonic() + seconds
    while True:
        last: Any = None
        try:
            last = check()
        except (httpx.HTTPError, LookupError) as error:
            last = error
        if last and not isinstance(last, Exception):
            return last
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {last!r}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Server:
    """A running program, its URL and its log file."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}{path}", params=parameters, timeout=10)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def started(
    program: Sequence[str | Path],
    url: str,
    log: Path,
    *,
    ready: str,
    environment: Mapping[str, str] | None = None,
    seconds: float = 30.0,
) -> Iterator[Server]:
    """Runs a program while the block runs.

    Args:
        program: the command.
        url: of the program.
        log: file of its output, which is part of the error if it does not start.
        ready: path that answers 2xx when it is ready.
        environment: variables in addition to those of this process.
        seconds: within which it must be ready.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, program)),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
        )
    server = Server(url, process, log)

    def up() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{program[0]} ended with {process.returncode}:\n{log.read_text()}")
        return httpx.get(f"{url}{ready}", timeout=5).is_success

    try:
        try:
            until(f"{url}{ready} of {program[0]}", up, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()[-4000:]}") from error
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(with_signal)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def prometheus(config: Path, folder: Path, port: int) -> Iterator[Server]:
    address = f"127.0.0.1:{port}"
    command = [
        find("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        # An alert that fires before Alertmanager is discovered would be sent again only after a minute.
        "--rules.alert.resend-delay=2s",
        "--log.level=warn",
    ]
    with started(command, f"http://{address}", folder / "prometheus.log", ready="/-/ready") as server:
        yield server


@contextmanager
def alertmanager(config: Path, folder: Path, port: int) -> Iterator[Server]:
    address = f"127.0.0.1:{port}"
    command = [
        find("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        "--cluster.listen-address=",
        "--log.level=info",
    ]
    with started(command, f"http://{address}", folder / "alertmanager.log", ready="/-/ready") as server:
        yield server


@contextmanager
def node_exporter(folder: Path) -> Iterator[Server]:
    address = f"127.0.0.1:{free_port()}"
    command = [
        find("prometheus-node-exporter"),
        f"--web.listen-address={address}",
        "--collector.disable-defaults",
        "--collector.cpu",
        "--collector.filesystem",
    ]
    with started(command, f"http://{address}", folder / "node-exporter.log", ready="/") as server:
        yield server


@contextmanager
def redis_exporter(folder: Path) -> Iterator[Server]:
    """Runs Redis and its exporter; yields the exporter."""
    port, address = free_port(), f"127.0.0.1:{free_port()}"
    redis = [
        find("redis-server"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    exporter = [
        find("prometheus-redis-exporter"),
        f"-redis.addr=redis://127.0.0.1:{port}",
        f"-web.listen-address={address}",
    ]
    with (
        running(redis, folder / "redis.log"),
        started(exporter, f"http://{address}", folder / "redis-exporter.log", ready="/health") as server,
    ):
        yield server


@contextmanager
def postgres_exporter(folder: Path, port: int) -> Iterator[Server]:
    """Runs the exporter of the PostgreSQL at a port."""
    address = f"127.0.0.1:{free_port()}"
    exporter = [find("prometheus-postgres-exporter"), f"--web.listen-address={address}"]
    environment = {
        "DATA_SOURCE_URI": f"127.0.0.1:{port}/postgres?sslmode=disable",
        "DATA_SOURCE_USER": "cctelegram",
        "DATA_SOURCE_PASS": "unused",
    }
    log = folder / "postgres-exporter.log"
    with started(exporter, f"http://{address}", log, ready="/", environment=environment) as server:
        yield server


class Postgres:
    """A PostgreSQL that can be stopped and started."""

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        self.port = port
        self._command = command
        self._log = log
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(running(self._command, self._log, stop_with=signal.SIGINT))

    def stop(self) -> None:
        self._running.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    # PostgreSQL does not run as root, and its user may not read pytest's folders.
    data = Path(tempfile.mkdtemp(prefix="cctelegram-postgres-"))
    become: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(data, "postgres")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    make = [*become, find("initdb"), "-D", str(data), "-U", "cctelegram", "-A", "trust", "--no-sync"]
    port = free_port()
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
    serve = [*become, find("postgres"), "-D", str(data)]
    serve += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    try:
        subprocess.run(make, check=True, capture_output=True, timeout=60, cwd="/")
        server = Postgres(serve, port, folder / "postgres.log")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def running(
    program: Sequence[str | Path], log: Path, *, stop_with: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program while the block runs, without waiting until it is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(list(map(str, program)), stdout=output, stderr=subprocess.STDOUT, cwd="/")
    try:
        yield process
    finally:
        stop(process, stop_with)
