"""The table of keys."""

from sqlalchemy import Column, Double, Index, MetaData, String, Table, Text

metadata = MetaData()

api_key = Table(
    "api_key",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("per_second", Double),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Double),
    Column("last_used_at", Double),
    Column("revoked_at", Double),
)
# A name is one client's; after a revocation it can be given again.
Index(
    "api_key_name",
    api_key.c.name,
    unique=True,
    sqlite_where=api_key.c.revoked_at.is_(None),
    postgresql_where=api_key.c.revoked_at.is_(None),
)
