"""After a restore: what the bridge was doing at the backup is not done a second time.

Messages are the engine's (:mod:`services.outbox.delivery.after_restore`). Waiting webhook calls stay: a call
that was made since has the same ``webhook-id``, by which its receiver knows a repetition. Open approvals stay
open.
"""

from sqlalchemy import Connection, update

from services.bridge.tracking import jobs
from services.bridge.tracking.schema import job
from services.bridge.updates.schema import telegram_update
from services.bridge.updates.store import UpdateState
from services.kit.database import leader_lease

_CAUSE = "restored from a backup: it may have been done since"


def apply(connection: Connection, now: float) -> None:
    """Ends what was under way at the backup: updates, replay jobs, and leases.

    Args:
        connection: in a transaction.
        now: seconds since the epoch.
    """
    open_updates = (UpdateState.STORED.value, UpdateState.CALLS_PENDING.value)
    connection.execute(
        update(telegram_update)
        .where(telegram_update.c.state.in_(open_updates))
        .values(state=UpdateState.FAILED.value, chores=None, error=_CAUSE)
    )
    connection.execute(
        update(job)
        .where(job.c.state == jobs.State.RUNNING.value)
        .values(state=jobs.State.CANCELLED.value, finished_at=now, error=_CAUSE)
    )
    leader_lease.end_all(connection)
