"""What is old goes: webhooks, resolved incidents with all that belongs to them, and what was told of them.

The functions run inside a transaction of the caller's, a portion each.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Table, delete, exists, select

from services.alert_relay.schema import entry, episode, incident, notification, webhook
from services.outbox.messages import FINISHED
from services.outbox.schema import attempt, change, event, message

PORTION = 200


def webhooks(connection: Connection, before: float) -> dict[str, int]:
    """Deletes webhooks that came last before then; answers how many rows of each table."""
    old = select(webhook.c.digest).where(webhook.c.last_received_at < before).limit(PORTION)
    return {"webhook": connection.execute(delete(webhook).where(webhook.c.digest.in_(old))).rowcount}


def incidents(connection: Connection, before: float) -> dict[str, int]:
    """Deletes incidents that were resolved before then, with their alerts and timelines."""
    old = select(incident.c.id).where(incident.c.resolved_at < before).order_by(incident.c.id).limit(PORTION)
    ids = connection.execute(old.with_for_update()).scalars().all()
    gone = {
        table.name: _of_incidents(connection, table, ids) for table in (entry, episode, notification) if ids
    }
    if ids:
        gone["incident"] = connection.execute(delete(incident).where(incident.c.id.in_(ids))).rowcount
    return gone


def _of_incidents(connection: Connection, table: Table, ids: Sequence[str]) -> int:
    return connection.execute(delete(table).where(table.c.incident_id.in_(ids))).rowcount


def told(connection: Connection, before: float) -> dict[str, int]:
    """Deletes what was told before then and belongs to no incident any more, once all of it has ended."""
    unfinished = exists().where(message.c.event_id == event.c.id, message.c.state.not_in(FINISHED))
    belongs = exists().where(notification.c.id == event.c.id)
    old = select(event.c.id).where(event.c.accepted_at < before, ~unfinished, ~belongs)
    ids = connection.execute(old.order_by(event.c.id).limit(PORTION).with_for_update()).scalars().all()
    if not ids:
        return {}
    seqs = select(message.c.seq).where(message.c.event_id.in_(ids))
    gone = {
        table.name: connection.execute(delete(table).where(table.c.message_seq.in_(seqs))).rowcount
        for table in (attempt, change)
    }
    gone["message"] = connection.execute(delete(message).where(message.c.event_id.in_(ids))).rowcount
    gone["event"] = connection.execute(delete(event).where(event.c.id.in_(ids))).rowcount
    return gone


Step = Callable[[Connection, float], dict[str, int]]
#: In this order: what belongs to an incident is free once the incident is gone.
STEPS: tuple[Step, ...] = (webhooks, incidents, told)
