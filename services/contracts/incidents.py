"""Incidents as alert-relay tells them to whoever asks."""

from typing import Any

from pydantic import BaseModel, Field


class Incident(BaseModel):
    """Alerts of one name and group that people handle as one thing."""

    id: str
    state: str = Field(description="firing or resolved")
    alertname: str
    severity: str = Field(description="the worst of its alerts")
    group_labels: dict[str, str]
    alertmanager: str = Field(description="the cluster that it came from")
    receiver: str
    opened_at: str = Field(description="when the relay first heard of it, RFC 3339")
    updated_at: str
    resolved_at: str | None
    episodes: int = Field(description="alerts, each from firing to resolved")
    firing: int = Field(description="those of them that fire")


class IncidentPage(BaseModel):
    incidents: list[Incident]
    next_cursor: str | None = Field(description="hand it back as `cursor`; null on the last page")


class Episode(BaseModel):
    """One alert from firing to resolved."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    starts_at: str = Field(description="the earliest start that was reported")
    ends_at: str | None = Field(description="null while it fires")
    received_at: str
    last_received_at: str


class ToldMessage(BaseModel):
    """A notification on its way to one recipient."""

    message_id: str
    chat_id: int
    state: str = Field(description="of the delivery: queued, sending, delivered, …")
    reason: str
    telegram_message_ids: list[int]
    finished_at: str | None


class TimelineEntry(BaseModel):
    at: str
    kind: str = Field(description="firing, repeated, resolved, truncated, fetched, closed, told")
    fingerprint: str | None = None
    detail: dict[str, Any] = {}
    messages: list[ToldMessage] = Field([], description="where something was told")


class IncidentDetail(Incident):
    alerts: list[Episode]
    timeline: list[TimelineEntry]
