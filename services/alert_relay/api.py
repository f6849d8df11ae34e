"""The routes: Alertmanager posts webhooks, people and the dashboard read incidents."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from opentelemetry import trace

from services.alert_relay import queries
from services.alert_relay.clusters.configuration import ClusterName
from services.alert_relay.episodes import IncidentState
from services.alert_relay.queries import IncidentRow
from services.alert_relay.state import InjectedState
from services.contracts.alertmanager import AlertSent, Webhook
from services.contracts.incidents import (
    Episode,
    Incident,
    IncidentDetail,
    IncidentPage,
    NotificationMessage,
    TimelineEntry,
)
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext
from services.kit.web.auth import BearerAuth
from services.kit.web.credentials import with_bearer

router = APIRouter()

WEBHOOKS = "/webhook/"


async def admission(request: Request) -> None:
    """FastAPI dependency: any key of the keyring; for webhooks also as the password of HTTP Basic.

    Other routes do not take it: a browser sends a password by itself, also for the page of another website.
    """
    header = request.headers.get("authorization")
    if request.url.path.startswith(WEBHOOKS):
        header = with_bearer(dict(request.headers.raw)).get(b"authorization", b"").decode("latin-1")
    auth: BearerAuth = request.app.state.bearer_auth
    auth.authenticate(header, request)


_NOT_STORED = {
    "description": "The webhook may not be stored; send it again. An overload has this status too, never 429."
}


@router.post("/webhook/alert", tags=["alertmanager"], responses={503: _NOT_STORED})
async def receive(webhook: Webhook, request: Request, service: InjectedState) -> AlertSent:
    """Stores an Alertmanager webhook, version 4, and answers once it is on disk."""
    received_at = await service.relay.receive(webhook, _text(await request.body()), _parent(request))
    return AlertSent(timestamp=rfc3339(received_at))


@router.post("/webhook/alert/{cluster}", tags=["alertmanager"], responses={503: _NOT_STORED})
async def receive_of_cluster(
    cluster: ClusterName,
    webhook: Webhook,
    request: Request,
    service: InjectedState,
) -> AlertSent:
    """Stores a webhook of a cluster whose external URL does not tell it from another one."""
    body = _text(await request.body())
    received_at = await service.relay.receive(webhook, body, _parent(request), cluster)
    return AlertSent(timestamp=rfc3339(received_at))


def _text(body: bytes) -> str:
    """Returns the body as text that both databases can store."""
    return body.decode("utf-8-sig", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _parent(request: Request) -> TraceContext | None:
    """Returns the span of this request, or the caller's span if this service exports no spans."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return TraceContext(span.trace_id, span.span_id, span.trace_flags.sampled)
    return TraceContext.parse(request.headers.get("traceparent"))


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
    rows = await service.database.read("incidents", lambda c: queries.page(c, state, before, limit + 1))
    page = [_incident(row) for row in rows[:limit]]
    return IncidentPage(incidents=page, next_cursor=page[-1].id if len(rows) > limit else None)


@router.get(
    "/api/v1/incidents/{incident_id}",
    tags=["incidents"],
    responses={404: {"description": "The incident does not exist."}},
)
async def get_incident(incident_id: UUID, service: InjectedState) -> IncidentDetail:
    """Returns one incident with its alerts and its timeline."""
    row = await service.database.read("incident", lambda c: queries.one(c, str(incident_id)))
    if row is None:
        raise Problem(404, "Not Found", f"There is no incident {incident_id}.")
    return IncidentDetail(
        **_incident(row).model_dump(),
        alerts=[_episode(each) for each in row["members"]],
        timeline=_timeline(row),
    )


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
        episodes=row["episodes"],
        firing=row["firing"],
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
        TimelineEntry, at=rfc3339(row["at"]), kind=row["kind"], fingerprint=row["fingerprint"], detail=detail
    )


def _notification(row: IncidentRow) -> TimelineEntry:
    return TimelineEntry(
        at=rfc3339(row["at"]),
        kind="told",
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
