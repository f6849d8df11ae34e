"""The timeline of an incident: what happened, when, and who or what did it.

The notifications of an incident are stored apart, in ``notification`` and the outbox.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select, update

from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.incident import Actor, ActorKind
from services.alert_relay.schema import entry, incident
from services.contracts.stored import json_of


class TimelineKind(StrEnum):
    """The kind of a timeline entry."""

    FIRING = "firing"  #: an alert fired
    REPEATED = "repeated"  #: Alertmanager repeated a firing alert
    RESOLVED = "resolved"  #: an alert resolved
    SUPERSEDED = "superseded"  #: an alert fired anew, so it had resolved; Alertmanager sent no resolution
    ABSENT = "absent"  #: Alertmanager's API has not had the alert for so long that it has resolved
    TRUNCATED = "truncated"  #: Alertmanager left alerts out (``max_alerts``)
    FETCHED = "fetched"  #: the relay fetched alerts that had been left out
    CLOSED = "closed"  #: the incident is resolved: its last alert resolved, or a person resolved it
    REOPENED = "reopened"  #: an alert fired soon after the incident was resolved
    ACKNOWLEDGED = "acknowledged"  #: a person acknowledged the incident
    UNACKNOWLEDGED = "unacknowledged"  #: the acknowledgement was taken back
    UNATTENDED = "unattended"  #: it was acknowledged long ago and still fires, so nobody handles it any more
    ESCALATED = "escalated"  #: more targets were notified, or again: ``cause`` of the detail says why
    HELD_BACK = "held_back"  #: a maintenance window held the notification of its alerts back
    NOTE = "note"  #: a person wrote a note
    JOINED = "joined"  #: its Alertmanager was joined to a cluster that has an incident of the same alerts


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A new entry of an incident's timeline.

    Args:
        incident_id: of the incident.
        kind: what happened.
        actor: who or what did it.
        fingerprint: of the alert; None: it is about the whole incident.
        detail: JSON.
    """

    incident_id: str
    kind: TimelineKind
    actor: Actor
    fingerprint: str | None = None
    detail: Mapping[str, Any] | None = None


def add(connection: Connection, entries: Sequence[TimelineRow], now: float) -> None:
    """Adds timeline entries, and updates ``updated_at`` of their incidents."""
    if entries:
        rows = [
            {
                "incident_id": each.incident_id,
                "at": now,
                "kind": each.kind.value,
                "actor": to_json(each.actor),
                "fingerprint": each.fingerprint,
                "detail": json.dumps(dict(each.detail or {})),
            }
            for each in entries
        ]
        connection.execute(insert(entry), rows)
    for chunk in chunks(list(dict.fromkeys(each.incident_id for each in entries))):
        connection.execute(update(incident).where(incident.c.id.in_(chunk)).values(updated_at=now))


def has(connection: Connection, incident_id: str, kind: TimelineKind, actor: Actor, **detail: object) -> bool:
    """Whether this actor has made an entry of this kind, with this in its detail."""
    same = (entry.c.incident_id == incident_id) & (entry.c.kind == kind.value)
    found = connection.execute(select(entry.c.detail).where(same, entry.c.actor == to_json(actor))).scalars()
    details = [made for made in map(json_of, found) if isinstance(made, dict)]
    return any(detail.items() <= made.items() for made in details)


def to_json(actor: Actor) -> str:
    return json.dumps({"kind": actor.kind.value, "name": actor.name, "user_id": actor.user_id})


def from_json(text: str | None) -> Actor | None:
    """Returns the actor of a column; None where it holds none."""
    found = json_of(text)
    if not isinstance(found, dict) or found.get("kind") not in set(ActorKind):
        return None
    user_id = found.get("user_id")
    return Actor(
        ActorKind(found["kind"]), str(found.get("name", "")), user_id if isinstance(user_id, int) else None
    )
