"""The real programs that the tests of the stack run: found, started on free ports, and stopped."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

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
}


class MissingProgramError(Exception):
    """A program that a test runs is not on this machine."""


def find(program: str) -> str:
    """The path of a program.

    Raises:
        MissingProgramError: it is not installed; the text names the Debian package.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin")
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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
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
