"""The table of keys."""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    MetaData,
    String,
    Table,
    Text,
    func,
    or_,
    select,
    update,
)

from services.bridge.keys import keys
from services.bridge.keys.keys import MOST_KEYS, Key
from services.contracts.keys import KeyKind
from services.kit.database.connect import upsert
from services.kit.errors import Problem

log = structlog.get_logger()

#: Woken when a key was created or revoked.
CHANNEL = "keys"

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
# Valid keys have distinct names; the name of a revoked key can be used again.
Index(
    "api_key_name",
    api_key.c.name,
    unique=True,
    sqlite_where=api_key.c.revoked_at.is_(None),
    postgresql_where=api_key.c.revoked_at.is_(None),
)


def add(connection: Connection, key: Key) -> None:
    """Stores a new key.

    Raises:
        Problem: 409, the name is taken, or there are too many keys.
    """
    living = select(func.count()).select_from(api_key).where(api_key.c.revoked_at.is_(None))
    if connection.execute(living).scalar_one() >= MOST_KEYS:
        raise Problem(409, "Too many keys", f"There are {MOST_KEYS} keys that were not revoked.")
    # The index on names decides: another replica may create a key with this name at this moment.
    new = upsert(connection, api_key).values(_row(key)).on_conflict_do_nothing()
    if key.name in keys.RESERVED or connection.execute(new).rowcount != 1:
        raise Problem(409, "Name taken", f"There is a key named {key.name}: revoke it, or take another name.")


def every(connection: Connection) -> list[Key]:
    """All keys, also expired and revoked ones, newest first."""
    found = connection.execute(select(api_key).order_by(api_key.c.created_at.desc(), api_key.c.id))
    return _keys(found.mappings())


def living(connection: Connection, now: float) -> list[Key]:
    """The valid keys."""
    return _keys(connection.execute(select(api_key).where(*_valid(now))).mappings())


def _valid(now: float) -> tuple[ColumnElement[bool], ...]:
    return api_key.c.revoked_at.is_(None), or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now)


def is_valid(connection: Connection, digest_or_id: str, now: float) -> bool:
    """Whether there is a valid key with this digest or id."""
    named = or_(api_key.c.digest == digest_or_id, api_key.c.id == digest_or_id)
    return connection.execute(select(api_key.c.id).where(named, *_valid(now))).first() is not None


def one(connection: Connection, key_id: str) -> Key | None:
    row = connection.execute(select(api_key).where(api_key.c.id == key_id)).mappings().first()
    return next(iter(_keys([row])), None) if row else None


def revoke(connection: Connection, key_id: str, now: float) -> bool:
    """Revokes a key; False if there is none. A revoked key keeps its time of revocation."""
    first = update(api_key).where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None))
    connection.execute(first.values(revoked_at=now))
    return one(connection, key_id) is not None


def note_used(connection: Connection, used: Mapping[str, float]) -> None:
    """Stores when each key was last used; of several replicas the latest time counts."""
    for key_id, at in sorted(used.items()):
        later = or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < at)
        connection.execute(update(api_key).where(api_key.c.id == key_id, later).values(last_used_at=at))


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind.value,
        "digest": key.digest,
        "scopes": keys.scopes_text(key.scopes),
        "per_second": key.per_second,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
    }


def _keys(rows: Iterable[Mapping[Any, Any]]) -> list[Key]:
    """The keys of rows. One that cannot be read is left out: it is not valid, and the others are."""
    found = []
    for row in rows:
        try:
            found.append(_key(row))
        except (AttributeError, TypeError, ValueError) as error:
            log.warning("key_unreadable", key_id=row["id"], error=str(error))
    return found


def _key(row: Mapping[Any, Any]) -> Key:
    """The key of a row.

    Raises:
        ValueError: the row has a value that is none of its column.
    """
    odd = [name for name in _NUMBERS if not isinstance(row[name], int | float | None)]
    if odd:
        raise ValueError(f"no number: {', '.join(odd)}")
    bytes.fromhex(row["digest"])
    return Key(**{**row, "kind": KeyKind(row["kind"]), "scopes": keys.scopes_of(row["scopes"])})


_NUMBERS = ("per_second", "created_at", "expires_at", "last_used_at", "revoked_at")
