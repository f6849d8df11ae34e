"""Incidents as alert-relay returns them."""

from typing import Any

from pydantic import BaseModel, Field


class Incident(BaseModel):
    """Alerts of one name and group, handled as one thing."""

    id: str
    state: str = Field(description="firing or resolved")
    alertname: str
    severity: str = Field(description="the highest severity among its alerts")
    group_labels: dict[str, str]
    alertmanager: str = Field(description="the Alertmanager cluster that sent it")
    receiver: str
    opened_at: str = Field(description="when alert-relay first received it, RFC 3339")
    updated_at: str
    resolved_at: str | None
    episodes: int = Field(description="number of episodes: alerts, each from firing to resolved")
    firing: int = Field(description="number of episodes that are firing")


class IncidentPage(BaseModel):
    incidents: list[Incident]
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page; null on the last one")


class Episode(BaseModel):
    """One alert from firing to its end."""

    fingerprint: str
    state: str = Field(
        description="firing; suspect: Alertmanager has the alert no more, so that it may have resolved; over"
    )
    ended_by: str | None = Field(
        description="resolved; absent: Alertmanager had it no more and sent no resolution; superseded: it"
        " fired anew; joined: the same alert fires in the cluster that it was joined to; null while open"
    )
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    starts_at: str = Field(description="the earliest start that was reported")
    ends_at: str | None = Field(description="null while it fires")
    received_at: str
    last_received_at: str


class NotificationMessage(BaseModel):
    """The message of a notification to one recipient."""

    message_id: str
    chat_id: int
    state: str = Field(description="state of the delivery: queued, sending, delivered, …")
    reason: str
    telegram_message_ids: list[int]
    finished_at: str | None


class TimelineEntry(BaseModel):
    at: str
    kind: str = Field(
        description="firing, repeated, resolved, superseded (it fired anew; no resolution was sent),"
        " absent (Alertmanager had it no more), joined (its Alertmanager was joined to a cluster),"
        " truncated, fetched, closed; told: a notification was sent"
    )
    fingerprint: str | None = None
    detail: dict[str, Any] = {}
    messages: list[NotificationMessage] = Field([], description="the messages of a notification")


class IncidentDetail(Incident):
    alerts: list[Episode]
    timeline: list[TimelineEntry]
