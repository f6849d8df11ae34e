"""The routes of incidents: people, programs and the dashboard read and handle them."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection

from services.alert_relay.api import post_mortem
from services.alert_relay.incidents import queries, timeline
from services.alert_relay.incidents.incident import (
    Acknowledge,
    Actor,
    ActorKind,
    AddNote,
    Command,
    Escalate,
    IncidentState,
    Refusal,
    Resolve,
    Unacknowledge,
)
from services.alert_relay.incidents.queries import IncidentRow
from services.alert_relay.maintenance import store as maintenance_store
from services.alert_relay.state import InjectedState, RelayState
from services.contracts.incidents import Actor as ActorView
from services.contracts.incidents import (
    Episode,
    Incident,
    IncidentCommand,
    IncidentDetail,
    IncidentNote,
    IncidentPage,
    NotificationMessage,
    SuppressedBy,
    TimelineEntry,
)
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.web.openapi import problems

router = APIRouter()


@router.get("/api/v1/incidents", tags=["incidents"])
async def list_incidents(
    service: InjectedState,
    state: IncidentState | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> IncidentPage:
    """Lists incidents, newest first."""
    before = str(cursor) if cursor else None
    # One row more than the page holds shows whether there is a next page.
    now = service.clock.time()
    rows = await service.database.read(
        "incidents", lambda c: _suppressed(c, queries.page(c, state, before, limit + 1), now)
    )
    page = [_incident(row) for row in rows[:limit]]
    return IncidentPage(incidents=page, next_cursor=page[-1].id if len(rows) > limit else None)


@router.get(
    "/api/v1/incidents/{incident_id}",
    tags=["incidents"],
    responses={404: {"description": "The incident does not exist."}},
)
async def get_incident(incident_id: UUID, service: InjectedState) -> IncidentDetail:
    """Returns one incident with its alerts and its timeline."""
    row = await _read(incident_id, service)
    if row is None:
        raise Problem(404, "Not Found", f"There is no incident {incident_id}.")
    return IncidentDetail(
        **_incident(row).model_dump(),
        alerts=[_episode(each) for each in row["members"]],
        timeline=_timeline(row),
    )


@router.get(
    "/api/v1/incidents/{incident_id}/timeline.md",
    tags=["incidents"],
    response_class=Response,
    responses={
        200: {"description": "the Markdown", "content": {"text/markdown": {"schema": {"type": "string"}}}},
        404: {"description": "The incident does not exist."},
    },
)
async def get_timeline(incident_id: UUID, service: InjectedState) -> Response:
    """Returns the incident's timeline as Markdown: the skeleton of a post-mortem."""
    text = post_mortem.markdown(await get_incident(incident_id, service))
    return Response(text, media_type="text/markdown; charset=utf-8")


_COMMAND = problems(
    {
        404: "no incident has this id",
        409: "the incident has changed since this version, is resolved, or another person has acknowledged"
        " it; `incident` has its state",
    }
)


@router.post("/api/v1/incidents/{incident_id}/ack", tags=["incidents"], responses=_COMMAND)
async def acknowledge(incident_id: UUID, command: IncidentCommand, service: InjectedState) -> Incident:
    """Says that a person handles the incident: repetitions of its alerts cause no notification.

    A repetition by the same person changes nothing.
    """
    return await _perform(incident_id, Acknowledge(), command, service)


@router.post("/api/v1/incidents/{incident_id}/unack", tags=["incidents"], responses=_COMMAND)
async def unacknowledge(incident_id: UUID, command: IncidentCommand, service: InjectedState) -> Incident:
    """Takes an acknowledgement back, also another person's. A repetition changes nothing."""
    return await _perform(incident_id, Unacknowledge(), command, service)


@router.post("/api/v1/incidents/{incident_id}/resolve", tags=["incidents"], responses=_COMMAND)
async def resolve(incident_id: UUID, command: IncidentCommand, service: InjectedState) -> Incident:
    """Ends the incident with its alerts, whatever Alertmanager reports. A repetition changes nothing.

    An alert that goes on firing opens an incident again when Alertmanager repeats it (`repeat_interval`).
    """
    return await _perform(incident_id, Resolve(), command, service)


@router.post("/api/v1/incidents/{incident_id}/escalate", tags=["incidents"], responses=_COMMAND)
async def escalate(incident_id: UUID, command: IncidentCommand, service: InjectedState) -> Incident:
    """Notifies the targets of the next level of escalation now, also if a person handles the incident."""
    return await _perform(incident_id, Escalate(), command, service)


@router.post("/api/v1/incidents/{incident_id}/note", tags=["incidents"], responses=_COMMAND)
async def add_note(incident_id: UUID, note: IncidentNote, service: InjectedState) -> Incident:
    """Adds a note to the timeline, also of a resolved incident. A repetition changes nothing."""
    return await _perform(incident_id, AddNote(note.text), note, service)


async def _perform(
    incident_id: UUID, wanted: Command, sent: IncidentCommand, service: RelayState
) -> Incident:
    actor = Actor(ActorKind.API, sent.by)
    performed = await service.relay.perform(str(incident_id), wanted, actor=actor, version=sent.version)
    row = await _read(incident_id, service)
    if performed is None or row is None:
        raise Problem(404, "Not Found", f"There is no incident {incident_id}.")
    incident = _incident(row)
    if performed.refusal is not None:
        detail = _REFUSED[performed.refusal].format(
            version=incident.version, seen=sent.version, by=performed.before.acknowledged_by
        )
        raise Problem(409, "Conflict", detail, incident=incident.model_dump())
    return incident


_REFUSED = {
    Refusal.RESOLVED: "The incident is resolved.",
    Refusal.ACKNOWLEDGED: "{by} has acknowledged the incident; take that back first (unack).",
    Refusal.NO_LEVEL: "There is no further level: the incident has reached the last one of its policy.",
    Refusal.MOVED_ON: "The incident has changed: version {version} now, not {seen}. Look at it, and repeat.",
}


async def _read(incident_id: UUID, service: RelayState) -> IncidentRow | None:
    def read(connection: Connection) -> IncidentRow | None:
        found = queries.one(connection, str(incident_id))
        return None if found is None else _suppressed(connection, [found], service.clock.time())[0]

    return await service.database.read("incident", read)


def _suppressed(connection: Connection, rows: Sequence[IncidentRow], now: float) -> list[IncidentRow]:
    """Adds to incidents the maintenance windows that hold their notifications back."""
    windows = maintenance_store.suppressing(connection, [row["id"] for row in rows], now)
    return [{**row, "suppressed_by": windows.get(row["id"], [])} for row in rows]


def _incident(row: IncidentRow) -> Incident:
    return from_row(
        Incident,
        id=row["id"],
        state=row["state"],
        alertname=row["alertname"],
        severity=row["severity"],
        group_labels=row["group_labels"],
        alertmanager=row["cluster"],
        receiver=row["receiver"],
        opened_at=rfc3339(row["opened_at"]),
        updated_at=rfc3339(row["updated_at"]),
        resolved_at=_time(row["resolved_at"]),
        resolved_by=_actor(row["resolved_by"]),
        version=row["version"],
        acknowledged_by=_actor(row["acknowledged_by"]),
        acknowledged_at=_time(row["acknowledged_at"]),
        reopened=row["reopened"],
        policy=row["policy"] or None,
        level=row["level"] + 1,
        round=row["round"] + 1,
        escalates_at=_time(row["escalates_at"]),
        episodes=row["episodes"],
        firing=row["firing"],
        suppressed_by=[
            SuppressedBy(id=each.id, name=each.name, until=rfc3339(each.ends_at))
            for each in row["suppressed_by"]
        ],
    )


def _episode(row: IncidentRow) -> Episode:
    return from_row(
        Episode,
        fingerprint=row["fingerprint"],
        state=_state_of(row),
        ended_by=row["ended_by"],
        labels=row["labels"],
        annotations=row["annotations"],
        generator_url=row["generator_url"],
        starts_at=rfc3339(row["starts_at"]),
        ends_at=_time(row["ended_at"]),
        received_at=rfc3339(row["opened_at"]),
        last_received_at=rfc3339(row["heard_at"]),
    )


def _state_of(row: IncidentRow) -> str:
    if row["closed_at"] is not None:
        return "over"
    return "firing" if row["suspect_at"] is None else "suspect"


def _timeline(row: IncidentRow) -> list[TimelineEntry]:
    """Returns timeline entries and notifications in the order of time."""
    entries = [_entry(each) for each in row["entries"]]
    entries += [_notification(each) for each in row["notifications"]]
    return sorted(entries, key=lambda entry: entry.at)


def _entry(row: IncidentRow) -> TimelineEntry:
    detail = {name: _time(value) if name.endswith("_at") else value for name, value in row["detail"].items()}
    return from_row(
        TimelineEntry,
        at=rfc3339(row["at"]),
        kind=row["kind"],
        actor=_actor(row["actor"]),
        fingerprint=row["fingerprint"],
        detail=detail,
    )


def _actor(text: str | None) -> ActorView | None:
    actor = timeline.from_json(text)
    return ActorView(kind=actor.kind.value, name=actor.name, user_id=actor.user_id) if actor else None


def _notification(row: IncidentRow) -> TimelineEntry:
    return TimelineEntry(
        at=rfc3339(row["at"]),
        kind="notified",
        detail={"notification_id": row["id"], "channel": row["channel"], "about": row["kinds"]},
        messages=[
            from_row(
                NotificationMessage,
                message_id=each["id"],
                chat_id=each["chat_id"],
                state=each["state"],
                reason=each["reason"],
                telegram_message_ids=each["telegram_message_ids"],
                finished_at=_time(each["finished_at"]),
            )
            for each in row["messages"]
        ],
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
