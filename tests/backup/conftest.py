"""The two commands as programs, and a bridge's stores for them, on each database."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from sqlalchemy import Connection, select

from services.backup import archive
from services.bridge import app as bridge_app
from services.kit.clock import SystemClock
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.intake import enqueue
from services.outbox.schema import message
from tests.forking import Programs
from tests.outbox import making
from tests.servers import Postgres


@dataclass
class Place:
    """A data folder and a database, as settings name them."""

    folder: Path
    database_url: str
    programs: Programs
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        given = {"DATA_DIR": str(self.folder), "PATH": os.environ["PATH"]}
        is_sqlite = self.database_url.startswith("sqlite")
        return given | ({} if is_sqlite else {"DATABASE_URL": self.database_url}) | self.environment

    def backup(self, to: Path, *options: str) -> "CompletedProcess[str]":
        return self.run("services.backup", str(to), *options)

    def restore(self, path: Path, *options: str) -> "CompletedProcess[str]":
        return self.run("services.restore", str(path), *options)

    def run(self, module: str, *words: str) -> "CompletedProcess[str]":
        return self.programs.run(module, *words, environment=self.variables)

    async def opened(self) -> Database:
        telemetry = Telemetry("tests", ServiceSettings(data_dir=self.folder))
        return await open_database(self.database_url, telemetry, packages=bridge_app.PACKAGES)


def archive_in(folder: Path) -> Path:
    """The one archive in a folder."""
    (path,) = archive.archives_in(folder)
    return path


async def submit(database: Database, count: int, *, first_chat: int = 1) -> list[str]:
    """Stores so many messages that wait, each for a chat of its own; returns their ids."""
    now = SystemClock().time()
    ids = []
    for chat_id in range(first_chat, first_chat + count):
        posted = making.submission(making.message(chat_id), of=making.event(accepted_at=now))
        await database.write("enqueue", partial(enqueue.insert, submissions=[posted], now=now))
        ids.append(posted.messages[0][0].id)
    return ids


async def states(database: Database) -> dict[str, str]:
    def read(connection: Connection) -> dict[str, str]:
        return dict(connection.execute(select(message.c.id, message.c.state)).tuples().all())

    return await database.read("look", read)


@pytest.fixture
def here(database_url: str, tmp_path: Path, programs: Programs) -> Place:
    """Where the backup is made; its folder has the bridge's files."""
    folder = tmp_path / "here"
    folder.mkdir()
    url = database_url
    if url.startswith("sqlite"):
        made = Path(url.removeprefix("sqlite:///"))
        made.rename(folder / "bridge.db")
        url = f"sqlite:///{folder}/bridge.db"
    (folder / "api_key").write_text("cct_the-key-of-before\n")
    (folder / "api_key").chmod(0o600)
    return Place(folder, url, programs)


@pytest.fixture
def empty(
    request: pytest.FixtureRequest, here: Place, tmp_path: Path, programs: Programs
) -> Iterator[Callable[[str], Place]]:
    """Makes further places of the same kind, without any data."""
    with ExitStack() as stack:

        def make(name: str) -> Place:
            folder = tmp_path / name
            if here.database_url.startswith("sqlite"):
                return Place(folder, f"sqlite:///{folder}/bridge.db", programs)
            server: Postgres = request.getfixturevalue("postgres")
            return Place(folder, stack.enter_context(server.database()), programs)

        yield make


@pytest.fixture
def there(empty: Callable[[str], Place]) -> Place:
    return empty("there")
