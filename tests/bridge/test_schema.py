"""The bridge's migrations create the tables that the code declares, on both databases."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, inspect, select, text

from services.bridge import app, inbound
from services.bridge.approvals import schema as approvals
from services.bridge.commands import modes
from services.bridge.tracking import lifespan
from services.bridge.tracking import schema as tracking
from services.bridge.updates import schema as updates
from services.bridge.webhooks import schema as webhooks
from services.kit.database import leader_lease, migrate
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import schema as outbox
from services.updates.stored_updates import schema as stored_updates
from tests.outbox.test_schema import differences

OURS = {
    table.name
    for module in (approvals, leader_lease, modes, stored_updates, tracking, updates, webhooks)
    for table in vars(module).values()
    if isinstance(table, Table)
}


#: Packages whose tables the bridge's other packages made before they had revisions of their own.
LATER = {leader_lease.PACKAGE, stored_updates.PACKAGE}


def changes(connection: Connection) -> list[object]:
    declared = MetaData()
    for each in (outbox.metadata, leader_lease.metadata, stored_updates.metadata):
        for table in each.sorted_tables:
            table.to_metadata(declared)
    return differences(connection, OURS, declared)


async def test_the_migrated_database_is_the_schema(database: Database) -> None:
    await database.migrate((*inbound.PACKAGES, lifespan.PACKAGE))
    assert {
        "approval",
        "approval_answer",
        "leader_lease",
        "response",
        "telegram_update",
        "webhook_call",
        "job",
    } <= OURS
    assert await database.read("read", changes) == []
    there = await database.read("read", lambda connection: set(inspect(connection).get_table_names()))
    assert there >= OURS


async def test_a_fresh_database_and_an_earlier_one_end_with_the_same_schema(
    empty_database_url: str, telemetry: Telemetry
) -> None:
    earlier = [package for package in app.PACKAGES if package not in LATER]
    database = await open_database(empty_database_url, telemetry, packages=earlier)
    take = partial(leader_lease.take, name="task", owner="one", now=1.0, seconds=15.0)
    assert await database.write("fill", take)
    before = await database.read("read", schema_of)
    await database.migrate(app.PACKAGES)
    assert await database.read("read", changes) == []
    assert await database.read("read", schema_of) == before
    assert await database.write("read", partial(leader_lease.is_held, name="task", owner="one"))
    await database.close()


def schema_of(connection: Connection) -> dict[str, Any]:
    """The columns, indexes and constraints of each table, without the tables of versions."""
    found = inspect(connection)
    return {
        name: (
            [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(name)],
            sorted(map(_index, found.get_indexes(name))),
            sorted(found.get_unique_constraints(name), key=str),
            found.get_pk_constraint(name),
        )
        for name in found.get_table_names()
        if not name.endswith("_version")
    }


def _index(index: Any) -> tuple[str, ...]:
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return (index["name"], str(index["column_names"]), str(index["unique"]), str(options))


def tracking_before_leader_leases(folder: Path) -> str:
    """A package named like tracking, which names its version table, with the migrations up to 0003 only."""
    migrations = folder / "tracking" / "migrations"
    migrations.mkdir(parents=True)
    (folder / "tracking" / "__init__.py").write_text("")
    for revision in migrate.revisions_of(lifespan.PACKAGE).glob("000[123]_*.py"):
        (migrations / revision.name).write_bytes(revision.read_bytes())
    return "tracking"


def fill_earlier_tables(connection: Connection) -> None:
    for row in (
        "INSERT INTO chore VALUES ('retention', 'host-1', 200.5, 100.5, NULL)",
        "INSERT INTO chore VALUES ('callbacks', NULL, 0, NULL, '1.2.3')",
        "INSERT INTO telegram_receiver VALUES ('default', 'host-2', 300.5, 250.5)",
        "INSERT INTO telegram_receiver VALUES ('alerts', NULL, 0, NULL)",
    ):
        connection.execute(text(row))


async def test_the_rows_of_the_two_earlier_lease_tables_become_leader_leases(
    empty_database_url: str, tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    earlier = ("services.outbox", *inbound.PACKAGES, tracking_before_leader_leases(tmp_path))
    database = await open_database(empty_database_url, telemetry, packages=earlier)
    await database.write("fill", fill_earlier_tables)
    await database.migrate([lifespan.PACKAGE])
    leases = select(leader_lease.leader_lease).order_by(leader_lease.leader_lease.c.name)
    rows = await database.read("read", lambda connection: connection.execute(leases).all())
    assert [tuple(row) for row in rows] == [
        ("callbacks", None, 0.0, None, "1.2.3"),
        ("retention", "host-1", 200.5, 100.5, None),
        ("updates:alerts", None, 0.0, None, None),
        ("updates:default", "host-2", 300.5, 250.5, None),
    ]
    tables = await database.read("read", lambda connection: set(inspect(connection).get_table_names()))
    assert not tables & {"chore", "telegram_receiver"}
    await database.close()
