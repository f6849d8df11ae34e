"""After a restore: what the bridge was doing at the backup is not done a second time.

Messages are the engine's (:mod:`services.outbox.delivery.after_restore`). Waiting webhook calls stay: a call
that was made since has the same ``webhook-id``, by which its receiver knows a repetition. Open approvals stay
open.
"""

from sqlalchemy import Connection, update

from services.bridge.tracking import jobs
from services.bridge.tracking.schema import job
from services.kit.database import leader_lease
from services.updates import after_restore as updates

_CAUSE = "restored from a backup: it may have been done since"


def apply(connection: Connection, now: float) -> None:
    """Ends what was under way at the backup: updates, replay jobs, and leases.

    Args:
        connection: in a transaction.
        now: seconds since the epoch.
    """
    updates.apply(connection)
    connection.execute(
        update(job)
        .where(job.c.state == jobs.State.RUNNING.value)
        .values(state=jobs.State.CANCELLED.value, finished_at=now, error=_CAUSE)
    )
    leader_lease.end_all(connection)
