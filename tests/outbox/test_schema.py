"""The revisions make the tables that the code speaks of, on both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Table, text

from services.kit.db import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry import Telemetry
from services.outbox import schema
from services.outbox.schema import metadata

VERSIONS = "outbox_version"
# The services that stand on the engine add tables of theirs to its metadata.
OWN_TABLES = {thing.name for thing in vars(schema).values() if isinstance(thing, Table)}


async def test_the_migrated_database_is_the_schema(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {
            "compare_type": True,
            "include_object": lambda thing, name, kind, *_: kind != "table" or name in OWN_TABLES,
        }
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    assert await database.read("read", differences) == []


async def test_opening_again_changes_nothing(database: Database, database_url: str, tmp_path: Path) -> None:
    telemetry = Telemetry("again", ServiceSettings(data_dir=tmp_path))
    again = await open_database(database_url, telemetry, packages=["services.outbox"])
    query = text(f"SELECT version_num FROM {VERSIONS}")  # noqa: S608 - a constant of this test
    versions = await again.read("read", lambda c: c.execute(query).scalars().all())
    await again.close()
    assert len(versions) == 1


@pytest.mark.parametrize(
    "index", ["message_queued", "message_retry_wait", "message_update_key", "chat_ready", "chat_leased"]
)
async def test_what_waits_is_found_by_a_partial_index(database: Database, index: str) -> None:
    catalog = {
        "sqlite": "SELECT sql FROM sqlite_master WHERE name = :name",
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE indexname = :name",
    }[database.dialect]
    made = await database.read("read", lambda c: c.execute(text(catalog), {"name": index}).scalar_one())
    assert "WHERE" in made


async def test_the_database_tells_how_it_keeps_a_commit(database: Database) -> None:
    promise = await database.promise()
    assert promise["dialect"] == database.dialect
    if database.dialect == "sqlite":
        assert promise["synchronous"] == "FULL"
    else:
        assert {"synchronous", "address", "tls"} < promise.keys()
