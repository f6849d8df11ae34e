"""Jobs, the story of a correlation id, and the stream's events, as the bridge tells them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.contracts.fields import A_TIME, A_TRACE, AN_ID, about
from services.contracts.messages import Message, MessageState


class Progress(BaseModel):
    """How far a job is."""

    total: Annotated[int, about("messages that fitted when it began", 120)]
    passed: Annotated[int, about("messages that it has looked at", 80)]
    replayed: Annotated[int, about("messages that it has put back into the queue", 79)]


class JobFilter(BaseModel):
    """What a job replays, in the words of who asked for it."""

    status: Annotated[list[MessageState], about("which endings", ["dead_letter"])]
    reason: Annotated[list[str], about("why they ended; none is any", ["chat_not_found"])]
    type: Annotated[str | None, about("type of the event", "build_failed")]
    chat_id: Annotated[int | None, about("who gets it", 1001)]
    bot: Annotated[str | None, about("which bot sent it", "default")]
    correlation_id: Annotated[str | None, about("of the event", "order-4711")]
    since: Annotated[str | None, about("accepted at or after", A_TIME)]
    until: Annotated[str | None, about("accepted before", A_TIME)]
    q: Annotated[str | None, about("part of the title", "Build")]


class Job(BaseModel):
    """A replay in bulk."""

    id: Annotated[str, about("of the job", AN_ID)]
    kind: Annotated[Literal["replay"], about("what it does", "replay")]
    status: Annotated[Literal["running", "done", "cancelled", "failed"], about("its state", "running")]
    created_at: Annotated[str, about("when it was asked for", A_TIME)]
    created_by: Annotated[str, about("name of the key that asked", "ops")]
    why: Annotated[str | None, about("as it was given", "the chat is back")]
    finished_at: Annotated[str | None, about("when it ended; null while it runs", A_TIME)]
    filter: Annotated[JobFilter, about("what it replays")]
    progress: Annotated[Progress, about("how far it is")]
    error: Annotated[str | None, about("why it failed", "the store is down")]


class Jobs(BaseModel):
    """Jobs, newest first."""

    items: Annotated[list[Job], about("up to `limit`")]
    next_cursor: Annotated[str | None, about("hand it back as `cursor`; null on the last page", AN_ID)]


class Step(BaseModel):
    """Something that happened under a correlation id; each kind has fields of its own."""

    at: Annotated[str, about("when", A_TIME)]
    what: Annotated[Literal["event", "change", "attempt"], about("which kind of thing", "change")]
    event_id: Annotated[str, about("event: of the event", AN_ID)] = ""
    type: Annotated[str, about("event: its type", "task_completion")] = ""
    title: Annotated[str, about("event: its title", "Build finished")] = ""
    client: Annotated[str, about("event: name of the key that posted it", "ci")] = ""
    trace_id: Annotated[str | None, about("event: of its trace", A_TRACE)] = None
    message_id: Annotated[str, about("of the message that changed or was tried", AN_ID)] = ""
    chat_id: Annotated[int, about("of that message", 1001)] = 0
    status: Annotated[MessageState, about("change: the state that it came into", "sending")] = "queued"
    cause: Annotated[str | None, about("change: why", "attempt 1")] = None
    attempt: Annotated[int, about("number of the attempt, from 1", 1)] = 1
    part: Annotated[int, about("attempt: of the message, from 1", 1)] = 1
    outcome: Annotated[str | None, about("attempt: sent, not_sent or unknown", "sent")] = None
    reason: Annotated[str | None, about("attempt: why it failed", "flood_control")] = None
    detail: Annotated[str | None, about("attempt: in Telegram's words", "Too Many Requests")] = None
    duration_ms: Annotated[float | None, about("attempt: of the call", 45.2)] = None
    limiter_wait_ms: Annotated[float, about("attempt: how long Telegram's rates held it up", 0.0)] = 0
    retry_after_seconds: Annotated[float | None, about("attempt: that Telegram asked to wait", 5.0)] = None
    telegram_message_id: Annotated[int | None, about("attempt: that Telegram gave it", 42)] = None


class StoryLinks(BaseModel):
    """Where there is more."""

    traces: Annotated[
        list[str],
        about("in Jaeger; none where none is configured", [f"http://localhost:16686/trace/{A_TRACE}"]),
    ]
    events: Annotated[list[str], about("the events", [f"/api/v1/events/{AN_ID}"])]
    messages: Annotated[list[str], about("the messages", [f"/api/v1/messages/{AN_ID}"])]


class Story(BaseModel):
    """All that happened under a correlation id."""

    correlation_id: Annotated[str, about("that was asked for", "order-4711")]
    trace_ids: Annotated[list[str], about("of its events", [A_TRACE])]
    states: Annotated[dict[str, int], about("how many messages are in each state", {"delivered": 2})]
    timeline: Annotated[list[Step], about("in the order of time")]
    messages: Annotated[list[Message], about("as they stand")]
    links: Annotated[StoryLinks, about("where there is more")]
    truncated: Annotated[bool, about("whether there are more messages than are told of", False)]


class StreamChange(BaseModel):
    """The data of the stream's event `change`."""

    message_id: Annotated[str, about("of the message", AN_ID)]
    event_id: Annotated[str, about("of its event", AN_ID)]
    type: Annotated[str, about("that the event is handled as", "task_completion")]
    category: Annotated[str, about("of that type", "task")]
    title: Annotated[str, about("of the event", "Build finished")]
    source: Annotated[str, about("the program that the event is from", "ci")]
    severity: Annotated[str, about("how bad it is", "low")]
    chat_id: Annotated[int, about("who gets it", 1001)]
    bot: Annotated[str, about("which bot sends it", "default")]
    status: Annotated[MessageState, about("the state that it came into", "delivered")]
    attempt: Annotated[int | None, about("number of the attempt that changed it", 1)]
    cause: Annotated[str | None, about("why", "flood_control")]
    at: Annotated[str, about("when", A_TIME)]
    accepted_at: Annotated[str, about("when its event was accepted", A_TIME)]
    correlation_id: Annotated[str, about("of the event", "order-4711")]
    trace_id: Annotated[str | None, about("of the event's trace", A_TRACE)]


class StreamNote(BaseModel):
    """The data of the stream's other events."""

    position: Annotated[str, about("ready: where the stream begins, an id", "812.4711.1")] = ""
    detail: Annotated[str, about("gap, slow, bye: what happened, and what to do", "The service stops")] = ""


class StreamEvent(BaseModel):
    """One server-sent event of the stream."""

    event: Annotated[
        Literal["ready", "change", "gap", "slow", "bye"],
        about("change: a message's state; gap: some are missing; slow, bye: the stream ends", "change"),
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
                        {"$ref": "#/components/schemas/StreamNote"},
                    ]
                },
            },
        ),
    ]
    id: Annotated[str, about("for Last-Event-ID", "812.4711.1")] = ""
    retry: Annotated[int, about("milliseconds to wait before connecting again", 2_000)] = 2_000
