"""Incidents as alert-relay returns them."""

from typing import Any

from pydantic import BaseModel, Field


class Incident(BaseModel):
    """Alerts of one name and group, handled as one thing."""

    id: str
    state: str = Field(description="firing or resolved.")
    alertname: str
    severity: str = Field(description="The highest severity among its alerts.")
    group_labels: dict[str, str]
    alertmanager: str = Field(description="The Alertmanager cluster that sent it.")
    receiver: str
    opened_at: str = Field(description="When alert-relay first received it, RFC 3339.")
    updated_at: str
    resolved_at: str | None
    episodes: int = Field(description="Number of episodes: alerts, each from firing to resolved.")
    firing: int = Field(description="Number of episodes that are firing.")


class IncidentPage(BaseModel):
    incidents: list[Incident]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` for the next page; null on the last one."
    )


class Episode(BaseModel):
    """One alert from firing to resolved."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    starts_at: str = Field(description="The earliest start that was reported.")
    ends_at: str | None = Field(description="Null while it fires.")
    received_at: str
    last_received_at: str


class NotificationMessage(BaseModel):
    """The message of a notification to one recipient."""

    message_id: str
    chat_id: int
    state: str = Field(description="State of the delivery: queued, sending, delivered, …")
    reason: str
    telegram_message_ids: list[int]
    finished_at: str | None


class TimelineEntry(BaseModel):
    at: str
    kind: str = Field(
        description="firing, repeated, resolved, truncated, fetched, closed; told: a notification was sent."
    )
    fingerprint: str | None = None
    detail: dict[str, Any] = {}
    messages: list[NotificationMessage] = Field([], description="The messages of a notification.")


class IncidentDetail(Incident):
    alerts: list[Episode]
    timeline: list[TimelineEntry]
