import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, column, inspect, select, table, text

from services.kit.database import migrate
from services.kit.database.connect import open_database
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import Telemetry

REVISION = '''
"""{name}."""
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}


def upgrade():
    op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))
'''


def telemetry() -> Telemetry:
    return Telemetry("tests", ServiceSettings())


def package(folder: Path, name: str, tables: list[str]) -> str:
    """A package with one revision for each table."""
    (folder / name / "migrations").mkdir(parents=True, exist_ok=True)
    (folder / name / "__init__.py").write_text("")
    down = None
    for number, made in enumerate(tables):
        revision = f"{name}{number}"
        content = REVISION.format(name=made, revision=revision, down=repr(down))
        (folder / name / "migrations" / f"{revision}.py").write_text(content)
        down = revision
    return name


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def versions(*names: str) -> Any:
    def work(connection: Connection) -> list[str]:
        versions = (table(f"{name}_version", column("version_num")) for name in names)
        return [connection.execute(select(version)).scalar_one() for version in versions]

    return work


async def test_two_packages_share_a_database_and_no_history(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    one, two = package(tmp_path, "kit_one", ["ones"]), package(tmp_path, "kit_two", ["twos", "more_twos"])
    database = await open_database(empty_database_url, telemetry(), packages=[one, two])
    assert await database.read("look", tables) == {
        "ones",
        "twos",
        "more_twos",
        "kit_one_version",
        "kit_two_version",
    }
    assert await database.read("look", versions(one, two)) == ["kit_one0", "kit_two1"]
    await database.close()


async def test_a_later_start_runs_only_what_is_new(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = package(tmp_path, "kit_one", ["ones"])
    first = await open_database(empty_database_url, telemetry(), packages=[name])
    await first.write("fill", lambda c: c.execute(text("INSERT INTO ones VALUES (7)")))
    await first.close()
    package(tmp_path, name, ["ones", "later"])
    second = await open_database(empty_database_url, telemetry(), packages=[name])
    assert await second.read("look", lambda c: c.execute(text("SELECT id FROM ones")).scalar()) == 7
    assert "later" in await second.read("look", tables)
    await second.close()


async def test_starts_at_the_same_time_take_turns(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = package(tmp_path, "kit_one", ["ones", "twos"])
    databases = await asyncio.gather(
        *(
            open_database(empty_database_url, telemetry(), packages=[name, "services.outbox"])
            for _ in range(4)
        )
    )
    assert {"ones", "twos", "message"} <= await databases[0].read("look", tables)
    for database in databases:
        await database.close()


async def test_a_revision_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = package(tmp_path, "kit_one", ["ones", "ones"])
    with pytest.raises(StartError, match=r"^DATABASE_URL: cannot use .*ones.*exists"):
        await open_database(empty_database_url, telemetry(), packages=[name])
    database = await open_database(empty_database_url, telemetry(), packages=[])
    assert await database.read("look", tables) == set()
    await database.close()


async def test_a_database_of_a_later_version_is_one_line(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = package(tmp_path, "kit_one", ["ones", "twos"])
    await (await open_database(empty_database_url, telemetry(), packages=[name])).close()
    (tmp_path / name / "migrations" / "kit_one1.py").unlink()
    with pytest.raises(StartError, match=r"^DATABASE_URL: .* was written by another version of this program"):
        await open_database(empty_database_url, telemetry(), packages=[name])


@pytest.mark.parametrize("name", ["services.outbox", "services.alert_relay"])
def test_a_package_s_revisions_are_found_where_it_lives(name: str) -> None:
    folder = migrate.revisions_of(name)
    assert folder.name == "migrations"
    assert list(folder.glob("[0-9]*.py"))
