"""The bridge's migrations create the tables that the code declares, on both databases."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, inspect, select, text

from services.bridge import inbound, leader_lease
from services.bridge.approvals import schema as approvals
from services.bridge.commands import modes
from services.bridge.tracking import lifespan
from services.bridge.tracking import schema as tracking
from services.bridge.updates import schema as updates
from services.bridge.webhooks import schema as webhooks
from services.kit.database import migrate
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from tests.outbox.test_schema import differences

OURS = {
    table.name
    for module in (approvals, leader_lease, modes, tracking, updates, webhooks)
    for table in vars(module).values()
    if isinstance(table, Table)
}


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
    assert await database.read("read", lambda connection: differences(connection, OURS)) == []
    there = await database.read("read", lambda connection: set(inspect(connection).get_table_names()))
    assert there >= OURS


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
