"""Chores: what one replica at a time does, by a lease in the database."""

from sqlalchemy import Connection, insert, or_, select, update

from services.bridge.tracking.schema import chore
from services.kit.database.connect import upsert


def take(connection: Connection, name: str, owner: str, now: float, seconds: float) -> bool:
    """Takes a chore, or renews one's hold on it; false while somebody else has it."""
    connection.execute(upsert(connection, chore).values(name=name, lease_until=0.0).on_conflict_do_nothing())
    mine = or_(chore.c.owner == owner, chore.c.lease_until < now, chore.c.owner.is_(None))
    taken = connection.execute(
        update(chore).where(chore.c.name == name, mine).values(owner=owner, lease_until=now + seconds)
    )
    return taken.rowcount == 1


def release(connection: Connection, name: str, owner: str) -> None:
    mine = (chore.c.name == name, chore.c.owner == owner)
    connection.execute(update(chore).where(*mine).values(owner=None, lease_until=0.0))


def is_held(connection: Connection, name: str, owner: str) -> bool:
    """Whether the chore is still ours; holds its row, so that it stays so until the commit."""
    query = select(chore.c.owner).where(chore.c.name == name).with_for_update()
    return connection.execute(query).scalar() == owner


def succeeded(connection: Connection, name: str, now: float) -> None:
    connection.execute(update(chore).where(chore.c.name == name).values(last_success=now))


def last_success(connection: Connection, name: str) -> float | None:
    found: float | None = connection.execute(
        select(chore.c.last_success).where(chore.c.name == name)
    ).scalar()
    return found


def position(connection: Connection, name: str) -> str | None:
    """What the chore remembers of how far it came."""
    found: str | None = connection.execute(select(chore.c.position).where(chore.c.name == name)).scalar()
    return found


def advance(connection: Connection, name: str, written: str) -> None:
    done = connection.execute(update(chore).where(chore.c.name == name).values(position=written))
    if not done.rowcount:
        connection.execute(insert(chore).values(name=name, lease_until=0.0, position=written))
