"""The real programs that the tests of the stack run: found, started on free ports, and stopped."""

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
# Which Debian package brings a program that the tests call.
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
# Where Debian keeps programs that are not on everybody's path.
FOLDERS = (
    "/usr/bin",
    "/usr/sbin",
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
)


class MissingProgramError(Exception):
    """A program that a test runs is not on this machine."""


def find(program: str) -> str:
    """The path of a program.

    Raises:
        MissingProgramError: it is not installed; the text names the Debian package.
    """
    path = shutil.which(program) or shutil.which(program, path=":".join(FOLDERS))
    if path is None:
        package = PACKAGES[program]
        raise MissingProgramError(f"{program} is not installed: `apt-get install {package}` brings it")
    return path


def run(program: str, *arguments: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; its output is text, its exit code for the caller to judge."""
    return subprocess.run(
        [find(program), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def until(what: str, check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of a check that is asked again and again.

    Raises:
        AssertionError: it was not true in time; names what was waited for and what was seen last.
    """
    give_up = time.monotonic() + seconds
    while True:
        last: Any = None
        try:
            last = check()
        except (httpx.HTTPError, KeyError, IndexError) as error:
            last = error
        if last and not isinstance(last, Exception):
            return last
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {last!r}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Server:
    """A program that runs, where it answers, and where it logs."""

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
    """A program that runs for the length of a block.

    Args:
        program: the command.
        url: where it will answer.
        log: its output goes there, and into the error when it does not come up.
        ready: path that answers 2xx once it is up.
        environment: beside this process's own.
        seconds: how long it may take.
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
        # What fires before Alertmanager is discovered would else be sent again after a minute.
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
    """Redis, and the exporter that reads it; the exporter is what is yielded."""
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
    """The exporter of a PostgreSQL at the port."""
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
    """A PostgreSQL that can go away for a while."""

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
    # PostgreSQL refuses to run as root, and its user may not enter pytest's folders.
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
    """A program that runs for the length of a block, and is not asked whether it is up."""
    with log.open("wb") as output:
        process = subprocess.Popen(list(map(str, program)), stdout=output, stderr=subprocess.STDOUT, cwd="/")
    try:
        yield process
    finally:
        stop(process, stop_with)
