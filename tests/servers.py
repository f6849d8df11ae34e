"""Real servers for tests: PostgreSQL, the sandbox and our services over HTTP; and common helpers."""

import asyncio
import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import orjson
from aiohttp import web

from services.kit import runner
from services.kit.settings import ServiceSettings
from services.telegram_sandbox import app as telegram_sandbox
from services.telegram_sandbox.settings import DEFAULT_TOKEN, SandboxSettings
from tests.ports import free_port

T = TypeVar("T")
KEY = "cct_key-of-the-tests"
BOT_ID = int(DEFAULT_TOKEN.partition(":")[0])
#: Time after which a wait for a condition fails.
PATIENCE_SECONDS = 30.0


class ManualClock:
    """A clock that only the test advances.

    Args:
        now: seconds since the epoch; the monotonic time as well.
    """

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        #: Seconds by which the wall clock was set ahead.
        self.set_ahead = 0.0

    def time(self) -> float:
        return self.now + self.set_ahead

    def monotonic(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


async def until(check: Callable[[], Awaitable[T | None]], *, patience: float = PATIENCE_SECONDS) -> T:
    """Waits until `check` returns a true value, and returns it; the error contains the last value."""
    deadline = time.monotonic() + patience
    while True:
        answer = await check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:g} s; the last answer was {answer!r}")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Runs a web application on a free port of loopback; yields its URL."""
    served = web.AppRunner(app)
    await served.setup()
    try:
        await web.TCPSite(served, "127.0.0.1", 0).start()
        host, port = served.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await served.cleanup()


#: Seconds after which a call hangs: shorter than a long poll of 55 s, and than the timeout of :func:`http`.
HANGS = 25.0


async def before_the_wait_ends(waiting: Awaitable[T]) -> T:
    """The result of a long poll that something ends, and not its time.

    Raises:
        TimeoutError: nothing ended it.
    """
    async with asyncio.timeout(HANGS):
        return await waiting


#: Tests use plain HTTP on loopback; loading the machine's certificates for each client takes too long.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http(url: str = "", *, key: str = "", timeout: float = 30.0) -> httpx.AsyncClient:
    """Returns a client of a server that a test has started.

    Args:
        url: base of relative paths.
        key: bearer key of each request, if any.
        timeout: seconds for each phase of a call.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers, verify=_NO_CERTIFICATES)


# PostgreSQL


def postgres_programs() -> Path | None:
    """Returns the folder of the newest installed PostgreSQL's programs; None if there is none."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4].split(".")[0])
    )
    found = debian[-1] if debian else shutil.which("initdb")
    return Path(found).parent if found else None


@dataclass
class Postgres:
    """A PostgreSQL server of this test session; it trusts loopback and does not wait for the disk."""

    programs: Path
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"
    user: str | None
    options: tuple[str, ...]

    def start(self) -> None:
        """Starts the server again, with the same data on the same port."""
        self.process = _start(self.programs, self.folder, self.port, self.options, self.user)
        _wait_for(self)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Creates a database and yields its URL; drops it afterwards and closes its connections."""
        name = "t_" + os.urandom(6).hex()
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, *statements: str, name: str = "postgres") -> str:
        """Runs statements in a database, and returns the rows of all, one a line."""
        chosen = [part for statement in statements for part in ("-c", statement)]
        done = subprocess.run(
            [self.programs / "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *chosen, self.url(name)],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def postgres(
    programs: Path,
    options: tuple[str, ...] | None = None,
    within: Path | None = None,
    wal: Path | None = None,
) -> Iterator[Postgres]:
    """Creates and runs a cluster in a temporary folder; root runs it as another user.

    Args:
        programs: folder of its programs.
        options: of the server; default: fast, without fsync.
        within: where the folder is created; default: where the system has temporary files.
        wal: a new folder for its write-ahead log; default: within its data.
    """
    options = _QUICK if options is None else options
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="cctelegram-postgres-", dir=within))
    if user is not None:
        shutil.chown(folder, user)
    try:
        made: list[str | Path] = [programs / "initdb", "-D", folder / "data", "-U", "postgres"]
        elsewhere = ("-X", wal) if wal else ()
        subprocess.run([*made, *_TRUSTING, *elsewhere], check=True, capture_output=True, user=user)
        port = free_port()
        process = _start(programs, folder, port, options, user)
        server = Postgres(programs, folder, port, process, user, options)
        try:
            _wait_for(server)
            yield server
        finally:
            server.process.send_signal(signal.SIGINT)
            server.process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    programs: Path, folder: Path, port: int, options: tuple[str, ...], user: str | None
) -> "subprocess.Popen[bytes]":
    listening = ("-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1")
    with (folder / "log").open("ab") as output:
        return subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *listening, *options],
            stdout=output,
            stderr=output,
            user=user,
        )


_TRUSTING = ("-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
_QUICK = tuple(
    word
    for option in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")
    for word in ("-c", f"{option}=off")
)


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def _wait_for(server: Postgres) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    ready: list[str | Path] = [
        server.programs / "pg_isready",
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        str(server.port),
    ]
    while subprocess.run(ready, check=False).returncode:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((server.folder / "log").read_text(encoding="utf-8"))
        time.sleep(0.02)


# The sandbox


class Sandbox:
    """A running sandbox, with its control API for tests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = http(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def post(self, path: str, body: Any = None, method: str = "POST") -> Any:
        response = await self.client.request(method, f"/control{path}", json=body)
        response.raise_for_status()
        return response.json() if response.content else None

    async def faults(self, *faults: dict[str, Any]) -> list[int]:
        """Adds faults; default methods are sendMessage and sendDocument."""
        named = [{"methods": ["sendMessage", "sendDocument"]} | fault for fault in faults]
        answer: dict[str, list[int]] = await self.post("/faults", named)
        return answer["ids"]

    async def no_faults(self) -> None:
        await self.post("/faults", method="DELETE")

    async def limits(self, **limits: Any) -> None:
        await self.post("/limits", limits, method="PATCH")

    async def log(self) -> list[dict[str, Any]]:
        """Returns the whole event log, oldest first."""
        entries: list[dict[str, Any]] = []
        cursor = "0"
        while True:
            page = await self.client.get("/control/log", params={"cursor": cursor, "limit": 10_000})
            page.raise_for_status()
            lines = page.content.splitlines()
            if not lines:
                return entries
            entries += [orjson.loads(line) for line in lines]
            cursor = page.headers["X-Next-Cursor"]

    async def sends(self, chat_id: int | None = None) -> list[dict[str, Any]]:
        """Returns the calls of send methods, delivered or not."""
        return [
            entry
            for entry in await self.log()
            if entry["kind"] == "call"
            and str(entry["method"]).startswith("send")
            and chat_id in (None, entry["chat_id"])
        ]

    async def delivered(self, chat_id: int | None = None) -> list[dict[str, Any]]:
        """Returns the calls whose message is in the chat."""
        return [call for call in await self.sends(chat_id) if call["delivered"]]

    async def texts(self, chat_id: int | None = None) -> list[str]:
        return [call["text"] for call in await self.delivered(chat_id)]


@asynccontextmanager
async def sandbox_of(folder: Path, **settings: Any) -> AsyncIterator[Sandbox]:
    """Runs a sandbox; Telegram's limits are off by default."""
    defaults: dict[str, Any] = {"sandbox_limits": False, "port": 0, "data_dir": folder}
    chosen = SandboxSettings(**(defaults | settings))
    async with (
        runner.running(telegram_sandbox.create_app, chosen) as running,
        Sandbox(running.url) as sandbox,
    ):
        yield sandbox


@asynccontextmanager
async def client_of(
    create_app: Callable[[Any], Any], settings: ServiceSettings
) -> AsyncIterator[httpx.AsyncClient]:
    """Runs a service and yields a client with its key."""
    async with runner.running(create_app, settings) as running, http(running.url, key=KEY) as client:
        yield client
