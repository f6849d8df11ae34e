"""Fixtures for all tests: databases, a sandbox, a bridge."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import structlog
from fastapi.dependencies import models

from services.bridge import app as bridge_app
from services.bridge.settings import BridgeSettings
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import OPERATIONS
from services.telegram_sandbox.settings import SandboxSettings
from tests import disks, forking, route_cache, servers
from tests.database_copies import Copies
from tests.disks import SmallDisk
from tests.forking import Programs
from tests.servers import KEY, ManualClock, Postgres, Sandbox

pytest_plugins = ["tests.groups", "tests.partial"]

# The programs of the tests are stopped by Ctrl-C, which they ignore if these run as a shell's background job.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline would be a timed assertion: on a busy machine an example takes as long as it takes.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


route_cache.install()

# The default shows exceptions by rich, with the values of all variables: it took most of the tests' time.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(autouse=True)
def _forget_apps() -> Iterator[None]:
    """Empties FastAPI's caches of route functions, which would keep hundreds of finished apps in memory."""
    yield
    for cached in vars(models).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes environment variables that would change the settings of the tests."""
    for settings in (BridgeSettings, SandboxSettings):
        for name, field in settings.model_fields.items():
            variable = str(field.validation_alias or name).upper()
            monkeypatch.delenv(variable, raising=False)
            monkeypatch.delenv(f"{variable}_FILE", raising=False)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for each session (with xdist: for each worker)."""
    programs = servers.postgres_programs()
    assert programs is not None  # tests.partial deselects tests without it
    with servers.postgres(programs) as server:
        yield server


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """A file system of 48 MB, which a test can fill."""
    with disks.small_disk(48) as disk:
        yield disk


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for this test: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the bridge's empty tables; copying it is faster than migrating a new one."""
    made = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(_migrate(f"sqlite:///{made}"))
    return made


@pytest.fixture(scope="session")
def postgres_copies(postgres: Postgres) -> Iterator[Copies]:
    """PostgreSQL databases with the bridge's empty tables."""
    with postgres.database() as url:
        asyncio.run(_migrate(url))
        yield Copies(postgres, url.rpartition("/")[2])


async def _migrate(url: str) -> None:
    database = await open_database(url, Telemetry("tests", ServiceSettings()), packages=bridge_app.PACKAGES)
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with the bridge's empty tables for this test: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        made = tmp_path / "test.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), made)
        yield f"sqlite:///{made}"
        return
    copies: Copies = request.getfixturevalue("postgres_copies")
    with copies.database() as url:
        yield url


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Runs programs that end by themselves. Tests that use it need ``xdist_group("programs")``."""
    with forking.programs() as running:
        yield running


@pytest.fixture
def telemetry(tmp_path: Path) -> Telemetry:
    return Telemetry("tests", ServiceSettings(data_dir=tmp_path))


@pytest.fixture
async def database(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    """An open database with the engine's tables."""
    opened = await open_database(database_url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    yield opened
    await opened.close()


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A running sandbox; its limits are off until a test sets them."""
    async with servers.sandbox_of(tmp_path / "sandbox") as running:
        yield running


BridgeFactory = Callable[..., BridgeSettings]


@pytest.fixture
def bridge_settings(tmp_path: Path, sandbox: Sandbox) -> BridgeFactory:
    """Makes settings of a bridge at the sandbox, without rate limits; arguments override them."""

    def make(**settings: Any) -> BridgeSettings:
        ours: dict[str, Any] = {
            "port": 0,
            "data_dir": tmp_path,
            "api_key": KEY,
            "telegram_api_url": sandbox.url,
            "telegram_bot_per_second": 0,
            "telegram_chat_per_second": 0,
            "telegram_group_per_minute": 0,
            "retry_base_seconds": 0.05,
        }
        return BridgeSettings(**(ours | settings))

    return make


@pytest.fixture
async def bridge(bridge_settings: BridgeFactory, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of a running bridge."""
    settings = bridge_settings(database_url=database_url)
    async with servers.client_of(bridge_app.create_app, settings) as client:
        yield client
