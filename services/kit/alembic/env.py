"""Alembic's entry: runs one package's revisions on the connection that services.kit.migrate opened."""

from alembic import context

config = context.config
context.configure(
    connection=config.attributes["connection"], version_table=config.attributes["version_table"]
)
context.run_migrations()
