"""Leader lease: for each named task, one replica at a time is the leader, by a row in the database.

The leader takes the lease, renews it before it ends, and releases it when it stops; after a crash another
replica takes it when it has ended. The row also stores what the next leader needs: when the task last
succeeded, and its position in a feed. Every function works in the caller's transaction. Times are seconds
since the epoch, UTC.
"""

from sqlalchemy import Column, Connection, Double, MetaData, String, Table, Text, or_, select, update

from services.kit.database.interface import upsert

#: Whose migrations make the table.
PACKAGE = "services.kit.database"
metadata = MetaData()
leader_lease = Table(
    "leader_lease",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", Text),
    Column("lease_until", Double, nullable=False, default=0.0),
    Column("last_success", Double),
    Column("position", Text),
)
_lease = leader_lease.c


def take(
    connection: Connection, name: str, owner: str, *, now: float, seconds: float, alone: bool = False
) -> bool:
    """Takes the lease of a task, or renews it.

    Args:
        connection: in a transaction.
        name: of the task.
        owner: unique name of this replica.
        now: seconds since the epoch.
        seconds: how long the lease is valid from now.
        alone: no other process uses the database, so a valid lease belongs to a previous run: take it.

    Returns:
        False while another replica holds a valid lease.
    """
    create(connection, name)
    free = or_(_lease.owner.is_(None), _lease.owner == owner, _lease.lease_until < now)
    taken = connection.execute(
        update(leader_lease)
        .where(_lease.name == name, *(() if alone else (free,)))
        .values(owner=owner, lease_until=now + seconds)
    )
    return taken.rowcount == 1


def release(connection: Connection, name: str, owner: str) -> None:
    """Ends the lease now, so that another replica can take it; does nothing if another replica has it."""
    connection.execute(
        update(leader_lease)
        .where(_lease.name == name, _lease.owner == owner)
        .values(owner=None, lease_until=0.0)
    )


def end_all(connection: Connection) -> None:
    """Ends all leases now: no replica that took one runs any more. Successes and positions stay."""
    connection.execute(update(leader_lease).values(owner=None, lease_until=0.0))


def is_held(connection: Connection, name: str, owner: str) -> bool:
    """Whether the lease belongs to this replica; locks its row, so that this is true until the commit."""
    query = select(_lease.owner).where(_lease.name == name).with_for_update()
    return connection.execute(query).scalar() == owner


def record_success(connection: Connection, name: str, now: float) -> None:
    """Stores that the task succeeded now."""
    connection.execute(update(leader_lease).where(_lease.name == name).values(last_success=now))


def last_success(connection: Connection, name: str) -> float | None:
    """When the task last succeeded, in any replica; None before the first time."""
    query = select(_lease.last_success).where(_lease.name == name)
    found: float | None = connection.execute(query).scalar()
    return found


def create(connection: Connection, name: str, position: str | None = None) -> None:
    """Adds the row of a task with its first position, unless there is one."""
    row = upsert(connection, leader_lease).values(name=name, lease_until=0.0, position=position)
    connection.execute(row.on_conflict_do_nothing())


def position(connection: Connection, name: str) -> str | None:
    """The position that the task has reached, as it was stored; None before the first one."""
    found: str | None = connection.execute(select(_lease.position).where(_lease.name == name)).scalar()
    return found


def advance(connection: Connection, name: str, before: str, after: str) -> bool:
    """Moves the position by compare-and-set; false where another replica has moved it meanwhile."""
    moved = update(leader_lease).where(_lease.name == name, _lease.position == before).values(position=after)
    return connection.execute(moved).rowcount == 1
