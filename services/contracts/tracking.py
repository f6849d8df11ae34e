"""Replay jobs, the timeline of a correlation id, and the events of the stream, as the bridge returns them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.contracts.approvals import ApprovalStatus
from services.contracts.fields import A_TIME, A_TRACE, AN_ID, about
from services.contracts.messages import Message, MessageState


class Progress(BaseModel):
    """Progress of a job."""

    total: Annotated[int, about("messages that matched when it started", 120)]
    passed: Annotated[int, about("messages processed so far", 80)]
    replayed: Annotated[int, about("messages put back into the queue", 79)]


class JobFilter(BaseModel):
    """The filter of a job, as it was requested."""

    status: Annotated[list[MessageState], about("states to replay", ["dead_letter"])]
    reason: Annotated[list[str], about("reasons to replay; empty: any", ["chat_not_found"])]
    type: Annotated[str | None, about("type of the event", "build_failed")]
    chat_id: Annotated[int | None, about("chat that gets it", 1001)]
    bot: Annotated[str | None, about("bot that sends it", "default")]
    correlation_id: Annotated[str | None, about("correlation ID of the event", "order-4711")]
    since: Annotated[str | None, about("accepted at or after this time", A_TIME)]
    until: Annotated[str | None, about("accepted before this time", A_TIME)]
    q: Annotated[str | None, about("part of the title", "Build")]


class Job(BaseModel):
    """A bulk replay."""

    id: Annotated[str, about("ID of the job", AN_ID)]
    kind: Annotated[Literal["replay"], about("kind of job", "replay")]
    status: Annotated[Literal["running", "done", "cancelled", "failed"], about("state of the job", "running")]
    created_at: Annotated[str, about("when it was requested", A_TIME)]
    created_by: Annotated[str, about("name of the API key that requested it", "ops")]
    why: Annotated[str | None, about("reason given in the request", "the chat is back")]
    finished_at: Annotated[str | None, about("when it ended; null while it runs", A_TIME)]
    filter: Annotated[JobFilter, about("what it replays")]
    progress: Annotated[Progress, about("its progress")]
    error: Annotated[str | None, about("why it failed", "the store is down")]


class Jobs(BaseModel):
    """A page of jobs, newest first."""

    items: Annotated[list[Job], about("at most `limit` jobs")]
    next_cursor: Annotated[
        str | None, about("pass it as `cursor` for the next page; null on the last one", AN_ID)
    ]


class TimelineStep(BaseModel):
    """An event, a state change or an attempt; `what` decides which of the other fields are set."""

    at: Annotated[str, about("when it happened", A_TIME)]
    what: Annotated[Literal["event", "change", "attempt"], about("kind of step", "change")]
    event_id: Annotated[str, about("event: ID of the event", AN_ID)] = ""
    type: Annotated[str, about("event: its type", "task_completion")] = ""
    title: Annotated[str, about("event: its title", "Build finished")] = ""
    client: Annotated[str, about("event: name of the API key that posted it", "ci")] = ""
    trace_id: Annotated[str | None, about("event: its trace", A_TRACE)] = None
    message_id: Annotated[str, about("change, attempt: ID of the message", AN_ID)] = ""
    chat_id: Annotated[int, about("change, attempt: chat of the message", 1001)] = 0
    status: Annotated[MessageState, about("change: the new state", "sending")] = "queued"
    cause: Annotated[str | None, about("change: why it changed", "attempt 1")] = None
    attempt: Annotated[int, about("change, attempt: number of the attempt, from 1", 1)] = 1
    part: Annotated[int, about("attempt: part of the message, from 1", 1)] = 1
    outcome: Annotated[str | None, about("attempt: sent, not_sent or unknown", "sent")] = None
    reason: Annotated[str | None, about("attempt: reason of the failure", "flood_control")] = None
    detail: Annotated[str | None, about("attempt: Telegram's error text", "Too Many Requests")] = None
    duration_ms: Annotated[float | None, about("attempt: duration of the call", 45.2)] = None
    limiter_wait_ms: Annotated[float, about("attempt: how long Telegram's rate limits delayed it", 0.0)] = 0
    retry_after_seconds: Annotated[
        float | None, about("attempt: seconds that Telegram asked to wait", 5.0)
    ] = None
    telegram_message_id: Annotated[int | None, about("attempt: Telegram's ID of the sent message", 42)] = None


class CorrelationLinks(BaseModel):
    """URLs of the traces, events and messages of a correlation id."""

    traces: Annotated[
        list[str],
        about(
            "traces in Jaeger; empty if JAEGER_UI_URL is not set",
            [f"http://localhost:16686/trace/{A_TRACE}"],
        ),
    ]
    events: Annotated[list[str], about("the events", [f"/api/v1/events/{AN_ID}"])]
    messages: Annotated[list[str], about("the messages", [f"/api/v1/messages/{AN_ID}"])]


class CorrelationTimeline(BaseModel):
    """Everything that happened under a correlation id."""

    correlation_id: Annotated[str, about("the requested correlation ID", "order-4711")]
    trace_ids: Annotated[list[str], about("traces of its events", [A_TRACE])]
    states: Annotated[dict[str, int], about("number of messages in each state", {"delivered": 2})]
    timeline: Annotated[list[TimelineStep], about("steps in the order of time")]
    messages: Annotated[list[Message], about("messages with their current state")]
    links: Annotated[CorrelationLinks, about("links to related resources")]
    truncated: Annotated[bool, about("whether messages were left out because there are too many", False)]


class StreamChange(BaseModel):
    """The data of the stream's event `change`: a message and its new state."""

    message_id: Annotated[str, about("ID of the message", AN_ID)]
    event_id: Annotated[str, about("ID of its event", AN_ID)]
    type: Annotated[str, about("type that the event is handled as", "task_completion")]
    category: Annotated[str, about("category of that type", "task")]
    title: Annotated[str, about("title of the event", "Build finished")]
    source: Annotated[str, about("program that sent the event", "ci")]
    severity: Annotated[str, about("severity of the event", "low")]
    chat_id: Annotated[int, about("chat that gets it", 1001)]
    bot: Annotated[str, about("bot that sends it", "default")]
    status: Annotated[MessageState, about("the new state", "delivered")]
    attempt: Annotated[int | None, about("number of the attempt that changed it", 1)]
    cause: Annotated[str | None, about("why it changed", "flood_control")]
    at: Annotated[str, about("when it changed", A_TIME)]
    accepted_at: Annotated[str, about("when its event was accepted", A_TIME)]
    correlation_id: Annotated[str, about("correlation ID of the event", "order-4711")]
    trace_id: Annotated[str | None, about("trace of the event", A_TRACE)]


class StreamApproval(BaseModel):
    """The data of the stream's event `approval`: a question and its new state."""

    approval_id: Annotated[str, about("ID of the question", AN_ID)]
    status: Annotated[
        ApprovalStatus,
        about("the new state; undelivered: no chat shows it; open: a chat shows it after all", "undelivered"),
    ]
    title: Annotated[str, about("title of the question", "Deploy 2.1?")]
    event_id: Annotated[str, about("ID of the event that carries it", AN_ID)]
    bot: Annotated[str, about("bot that asks", "default")]
    at: Annotated[str, about("when it changed", A_TIME)]
    correlation_id: Annotated[str, about("correlation ID of the question", "order-4711")]
    trace_id: Annotated[str | None, about("trace of the event", A_TRACE)]


class StreamNote(BaseModel):
    """The data of the stream's other events."""

    position: Annotated[str, about("ready: ID at which the stream starts", "812.4711.1")] = ""
    detail: Annotated[str, about("gap, slow, bye: what happened, and what to do", "The service stops")] = ""


class StreamEvent(BaseModel):
    """One server-sent event of the stream."""

    event: Annotated[
        Literal["ready", "change", "approval", "gap", "slow", "bye"],
        about(
            "change, approval: a new state of a message or a question; gap: changes are missing;"
            " slow, bye: the stream ends",
            "change",
        ),
    ]
    data: Annotated[
        str,
        Field(
            description="JSON",
            examples=['{"position":"812.4711.1"}'],
            json_schema_extra={
                "contentMediaType": "application/json",
                "contentSchema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/StreamChange"},
                        {"$ref": "#/components/schemas/StreamApproval"},
                        {"$ref": "#/components/schemas/StreamNote"},
                    ]
                },
            },
        ),
    ]
    id: Annotated[str, about("ID for the header Last-Event-ID", "812.4711.1")] = ""
    retry: Annotated[int, about("milliseconds to wait before reconnecting", 2_000)] = 2_000
