"""Incidents as alert-relay returns them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services.contracts.fields import LARGEST_INT, Strict, Words, about, storable


class Actor(BaseModel):
    """Who or what changed an incident."""

    kind: Literal["alertmanager", "alert_relay", "api", "telegram"]
    name: str = Field(description="of the person, or of the Alertmanager cluster; empty if unknown")
    user_id: int | None = Field(None, description="the person's id in Telegram")


class SuppressedBy(BaseModel):
    """A maintenance window that holds the notifications of an incident back."""

    id: str
    name: str
    until: str = Field(description="when it ends, RFC 3339")


class Incident(BaseModel):
    """Alerts of one name and group, handled as one thing."""

    id: str
    # The defaults are those of an alert-relay before versions.
    version: int = Field(1, description="grows with each change; commands carry the version that was seen")
    state: str = Field(
        description="firing; acknowledged: alerts fire, and a person handles the incident; resolved"
    )
    alertname: str
    severity: str = Field(description="the highest severity among its alerts")
    group_labels: dict[str, str]
    alertmanager: str = Field(description="the Alertmanager cluster that sent it")
    receiver: str
    opened_at: str = Field(description="when alert-relay first received it, RFC 3339")
    updated_at: str
    resolved_at: str | None
    resolved_by: Actor | None = Field(None, description="the person who resolved it; null: its alerts ended")
    acknowledged_by: Actor | None = Field(None, description="null while nobody has acknowledged it")
    acknowledged_at: str | None = None
    reopened: int = Field(
        0, description="how often it fired again within INCIDENT_REOPEN_SECONDS after it had resolved"
    )
    policy: str | None = Field(None, description="its escalation policy; null: ON_CALL_FILE has none for it")
    level: int = Field(1, description="level of escalation that was reached, from 1")
    round: int = Field(1, description="how often the levels were begun, from 1")
    escalates_at: str | None = Field(
        None,
        description="when the next level is due; null: a person handles it, or there is no further level",
    )
    episodes: int = Field(description="number of episodes: alerts, each from firing to resolved")
    firing: int = Field(description="number of episodes that are firing")
    suppressed_by: list[SuppressedBy] = Field(
        [],
        description="the maintenance windows that match its firing alerts: people are not notified of it;"
        " empty: at least one of them is matched by none",
    )


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
        " fired anew; joined: the same alert fires in the cluster that it was joined to; by_hand: a person"
        " resolved the incident; null while open"
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
        " truncated, fetched, closed, reopened, acknowledged, unacknowledged, unattended (it was acknowledged"
        " long ago), escalated (further targets were notified), held_back (by a maintenance window), note;"
        " notified: a notification was sent"
    )
    actor: Actor | None = Field(None, description="who or what did it; null in entries of older versions")
    fingerprint: str | None = None
    detail: dict[str, Any] = {}
    messages: list[NotificationMessage] = Field([], description="the messages of a notification")


class IncidentCommand(Strict):
    """What a person does with an incident."""

    version: int = Field(ge=1, le=LARGEST_INT, description="of the incident that the person saw")
    by: Annotated[Words, about("name of the person, for the timeline", "Ada")] = ""


class IncidentNote(IncidentCommand):
    """A note on an incident."""

    text: Annotated[str, storable(4_000, 1)] = Field(description="of the note")


class IncidentDetail(Incident):
    alerts: list[Episode]
    timeline: list[TimelineEntry]


class DeadLetter(BaseModel):
    """A notification that did not arrive."""

    message_id: str
    incident_id: str = Field(description="of the incident; of alerts that could not be read the event's id")
    title: str
    chat_id: int = Field(description="of Telegram; of other channels the number of the target")
    target: str = Field("", description="where it was to go, such as email:ada@example.com")
    state: str = Field(description="dead_letter, suppressed or unknown")
    reason: str = Field(description="why, from a fixed list: bot_blocked, chat_not_found, …")
    detail: str = Field(description="the channel's words, if there was an attempt")
    accepted_at: str
    attempts: int


class DeadLetterPage(BaseModel):
    dead_letters: list[DeadLetter]
    next_cursor: int | None = Field(description="pass it as `cursor` for the next page; null on the last one")


class Replayed(BaseModel):
    replayed: int = Field(description="number of messages that are queued again")


class ReplayedOne(BaseModel):
    message_id: str
    state: str = Field(description="of the message, now")
