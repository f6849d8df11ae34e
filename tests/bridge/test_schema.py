"""The revisions of the bridge's nouns make the tables that the code speaks of, on both databases."""

from sqlalchemy import Table, inspect

from services.bridge import inbound
from services.bridge.approvals import schema as approvals
from services.bridge.commands import schema as commands
from services.bridge.tracking import lifespan
from services.bridge.tracking import schema as tracking
from services.bridge.updates import schema as updates
from services.bridge.webhooks import schema as webhooks
from services.kit.database.connect import Database
from tests.outbox.test_schema import differences

OURS = {
    table.name
    for module in (approvals, commands, tracking, updates, webhooks)
    for table in vars(module).values()
    if isinstance(table, Table)
}


async def test_the_migrated_database_is_the_schema(database: Database) -> None:
    await database.migrate((*inbound.PACKAGES, lifespan.PACKAGE))
    assert {"approval", "approval_answer", "response", "telegram_update", "webhook_call", "job"} <= OURS
    assert await database.read("read", lambda connection: differences(connection, OURS)) == []
    there = await database.read("read", lambda connection: set(inspect(connection).get_table_names()))
    assert there >= OURS
