"""The routes: Alertmanager posts, people read."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from opentelemetry import trace
from pydantic import BaseModel

from services.alert_relay import queries
from services.alert_relay.incidents import State
from services.alert_relay.queries import Row
from services.alert_relay.relay import Relay
from services.contracts.alertmanager import Webhook
from services.contracts.incidents import (
    Episode,
    Incident,
    IncidentDetail,
    IncidentPage,
    NotificationMessage,
    TimelineEntry,
)
from services.kit.clock import rfc3339
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext

router = APIRouter()

_NOT_STORED = {"description": "Not stored: send it again. Overload is answered so too, never with 429."}


class AlertSent(BaseModel):
    status: str = "alert_sent"
    timestamp: str


@router.post("/webhook/alert", tags=["alertmanager"], responses={503: _NOT_STORED})
async def receive(webhook: Webhook, request: Request) -> AlertSent:
    """Takes Alertmanager's webhook, version 4. It is on disk before this answers."""
    relay: Relay = request.state.relay
    received_at = await relay.receive(webhook, _text(await request.body()), _caller(request))
    return AlertSent(timestamp=rfc3339(received_at))


def _text(body: bytes) -> str:
    """The body as text that every database takes."""
    return body.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _caller(request: Request) -> TraceContext | None:
    """The span that this request is handled in; where no spans are made, the caller's."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return TraceContext(span.trace_id, span.span_id, span.trace_flags.sampled)
    return TraceContext.parse(request.headers.get("traceparent"))


@router.get("/api/v1/incidents", tags=["incidents"])
async def list_incidents(
    request: Request,
    state: State | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> IncidentPage:
    """Incidents, newest first."""
    database: Database = request.state.database
    before = str(cursor) if cursor else None
    # One more than asked for tells whether there is a next page.
    rows = await database.read("incidents", lambda c: queries.page(c, state, before, limit + 1))
    page = [_incident(row) for row in rows[:limit]]
    return IncidentPage(incidents=page, next_cursor=page[-1].id if len(rows) > limit else None)


@router.get(
    "/api/v1/incidents/{incident_id}",
    tags=["incidents"],
    responses={404: {"description": "There is no such incident."}},
)
async def get_incident(incident_id: UUID, request: Request) -> IncidentDetail:
    """One incident with its alerts and its timeline."""
    database: Database = request.state.database
    row = await database.read("incident", lambda c: queries.one(c, str(incident_id)))
    if row is None:
        raise Problem(404, "Not Found", f"There is no incident {incident_id}.")
    return IncidentDetail(
        **_incident(row).model_dump(),
        alerts=[_episode(each) for each in row["members"]],
        timeline=_timeline(row),
    )


def _incident(row: Row) -> Incident:
    return Incident(
        id=row["id"],
        state=row["state"],
        alertname=row["alertname"],
        severity=row["severity"],
        group_labels=row["group_labels"],
        alertmanager=row["cluster"],
        receiver=row["receiver"],
        opened_at=rfc3339(row["opened_at"]),
        updated_at=rfc3339(row["updated_at"]),
        resolved_at=_when(row["resolved_at"]),
        episodes=row["episodes"],
        firing=row["firing"],
    )


def _episode(row: Row) -> Episode:
    return Episode(
        fingerprint=row["fingerprint"],
        labels=row["labels"],
        annotations=row["annotations"],
        generator_url=row["generator_url"],
        starts_at=rfc3339(row["starts_at"]),
        ends_at=_when(row["ended_at"]),
        received_at=rfc3339(row["opened_at"]),
        last_received_at=rfc3339(row["heard_at"]),
    )


def _timeline(row: Row) -> list[TimelineEntry]:
    """What happened and what was told of it, in order of time."""
    entries = [_entry(each) for each in row["entries"]] + [_told(each) for each in row["told"]]
    return sorted(entries, key=lambda entry: entry.at)


def _entry(row: Row) -> TimelineEntry:
    detail = {name: _when(value) if name.endswith("_at") else value for name, value in row["detail"].items()}
    return TimelineEntry(
        at=rfc3339(row["at"]), kind=row["kind"], fingerprint=row["fingerprint"], detail=detail
    )


def _told(row: Row) -> TimelineEntry:
    return TimelineEntry(
        at=rfc3339(row["at"]),
        kind="told",
        detail={"notification_id": row["id"], "channel": row["channel"], "about": row["kinds"]},
        messages=[
            NotificationMessage(
                message_id=each["id"],
                chat_id=each["chat_id"],
                state=each["state"],
                reason=each["reason"],
                telegram_message_ids=each["telegram_message_ids"],
                finished_at=_when(each["finished_at"]),
            )
            for each in row["messages"]
        ],
    )


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
