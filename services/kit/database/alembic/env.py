"""Alembic's entry point: runs one package's revisions on the connection of `kit.database.migrate`."""

from alembic import context

config = context.config
context.configure(
    connection=config.attributes["connection"], version_table=config.attributes["version_table"]
)
context.run_migrations()
