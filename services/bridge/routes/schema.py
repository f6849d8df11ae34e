"""Where the routes of the API are kept: one row, replaced as a whole."""

from sqlalchemy import Column, Double, Integer, MetaData, Table, Text

metadata = MetaData()

route_set = Table(
    "route_set",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Counts the replacements, so that two people do not overwrite each other unseen.
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("updated_by", Text, nullable=False),
)
