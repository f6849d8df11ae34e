"""What may have been sent since the backup is held or marked in a restored database, package by package."""

from collections.abc import Collection

from sqlalchemy import Connection

from services.bridge import after_restore as bridge
from services.bridge.tracking import lifespan as tracking
from services.kit.database import leader_lease
from services.outbox.delivery import after_restore as engine
from services.outbox.delivery.after_restore import Unfinished, Unsent
from services.updates import after_restore as updates
from services.updates.stored_updates import schema as stored_updates

#: Of a service that receives updates, and is not the bridge.
_UPDATES = {leader_lease.PACKAGE, stored_updates.PACKAGE}
ENGINE = "services.outbox"
_BRIDGE = {"services.bridge.updates", tracking.PACKAGE}


def apply(
    connection: Connection, packages: Collection[str], unsent: Unsent, *, backup_at: float, now: float
) -> Unfinished | None:
    """Makes a restored database safe to start on; None where it holds no messages.

    Args:
        connection: in a transaction.
        packages: whose tables the database has, at their newest revisions.
        unsent: what becomes of messages that waited at the backup.
        backup_at: when the backup began, seconds since the epoch.
        now: seconds since the epoch.
    """
    if set(packages) >= _BRIDGE:
        bridge.apply(connection, now)
    elif set(packages) >= _UPDATES:
        updates.apply(connection)
        leader_lease.end_all(connection)
    if ENGINE not in packages:
        return None
    return engine.apply(connection, unsent, backup_at=backup_at, now=now)
