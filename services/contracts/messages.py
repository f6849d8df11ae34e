"""Messages as the bridge tells them: in a list, whole, with their event, and in numbers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel

from services.contracts.fields import A_TIME, A_TRACE, AN_ID, about

MessageState = Literal[
    "queued",
    "sending",
    "retry_wait",
    "unknown",
    "delivered",
    "dead_letter",
    "suppressed",
    "expired",
    "cancelled",
]

Cursor = Annotated[str | None, about("hand it back as `cursor`; null on the last page", "4711")]


class _Message(BaseModel):
    """One event for one recipient, as it stands."""

    id: Annotated[str, about("of the message", AN_ID)]
    event_id: Annotated[str, about("the event that it tells of", AN_ID)]
    type: Annotated[str, about("that the event is handled as", "task_completion")]
    category: Annotated[str, about("of that type", "task")]
    title: Annotated[str, about("of the event", "Build finished")]
    source: Annotated[str, about("the program that the event is from", "ci")]
    severity: Annotated[str, about("how bad it is", "low")]
    chat_id: Annotated[int, about("who gets it", 1001)]
    thread_id: Annotated[int | None, about("the topic of the chat", 7)]
    bot: Annotated[str, about("which bot sends it", "default")]
    status: Annotated[MessageState, about("its state", "delivered")]
    accepted_at: Annotated[str, about("when its event was accepted", A_TIME)]
    finished_at: Annotated[str | None, about("when it ended; null on its way", A_TIME)]
    next_attempt_at: Annotated[str | None, about("while it waits for another attempt", A_TIME)]
    deliver_at: Annotated[str | None, about("the appointed time, while it waits for it", A_TIME)]
    quiet_until: Annotated[str | None, about("while quiet hours hold it", A_TIME)]
    expires_at: Annotated[str | None, about("not after", A_TIME)]
    possible_duplicate: Annotated[bool, about("whether it may have arrived more than once", False)]
    correlation_id: Annotated[str, about("of the event", "order-4711")]
    trace_id: Annotated[str | None, about("of the event's trace", A_TRACE)]
    telegram_message_ids: Annotated[list[int], about("Telegram's ids of its parts, as they went", [42])]
    last_error: Annotated[str | None, about("why the last attempt failed", "flood_control")]


class Message(_Message):
    """One event for one recipient, as it stands."""

    attempts: Annotated[int, about("how many were made", 1)]


class Page(BaseModel):
    """Messages, newest first."""

    items: Annotated[list[Message], about("fewer than `limit` where `q` or `campaign_id` is searched")]
    next_cursor: Cursor


class StateChange(BaseModel):
    """A state that a message came into."""

    at: Annotated[str, about("when", A_TIME)]
    state: Annotated[MessageState, about("which", "sending")]
    cause: Annotated[str, about("why", "attempt 1")]
    duration_ms: Annotated[float | None, about("how long it was in it; null where it still is", 12.5)]


class Attempt(BaseModel):
    """One try to send a part of a message."""

    number: Annotated[int, about("from 1", 1)]
    part: Annotated[int, about("of the message, from 1", 1)]
    claimed_at: Annotated[str, about("when a worker took it", A_TIME)]
    started_at: Annotated[str | None, about("when the call began; null while it is awaited", A_TIME)]
    duration_ms: Annotated[float | None, about("of the call", 45.2)]
    limiter_wait_ms: Annotated[float, about("how long Telegram's rates held it up", 0.0)]
    outcome: Annotated[str | None, about("sent, not_sent or unknown; null while it is awaited", "sent")]
    reason: Annotated[str | None, about("why it failed, from a closed list; none where it did not", "none")]
    detail: Annotated[str | None, about("in Telegram's words", "Too Many Requests: retry after 5")]
    retry_after_seconds: Annotated[float | None, about("that Telegram asked to wait", 5.0)]
    telegram_message_id: Annotated[int | None, about("that Telegram gave it", 42)]


class MessageLinks(BaseModel):
    """Where there is more."""

    event: Annotated[str, about("the event", f"/api/v1/events/{AN_ID}")]
    trace: Annotated[
        str | None,
        about("in Jaeger; null where none is configured", f"http://localhost:16686/trace/{A_TRACE}"),
    ]


class _Told(_Message):
    events: Annotated[list[StateChange], about("every state that it was in, in order")]
    attempts_made: Annotated[int, about("how many attempts there were", 1)]
    links: Annotated[MessageLinks, about("where there is more")]


class MessageHistory(_Told):
    """A message with every state change and every attempt, without its content."""

    attempts: Annotated[list[Attempt], about("every attempt, in order")]


class WholeMessage(MessageHistory):
    """A message with every state change, every attempt and its content."""

    body: Annotated[str, about("its event, JSON in a text", '{"type":"task_completion","title":"Done"}')]


class MessageLife(_Told):
    """A message as it stands, and how it came there."""

    since: Annotated[str, about("when it came into its state", A_TIME)]
    age_seconds: Annotated[float, about("since it was accepted, until now or its end", 1.2)]


class Lives(BaseModel):
    """Messages and how they came to where they stand, newest first."""

    items: Annotated[list[MessageLife], about("those in flight, or all")]
    next_cursor: Cursor


class DeadLetter(Message):
    """A message that was given up."""

    reason: Annotated[str, about("why, from a closed list", "chat_not_found")]
    detail: Annotated[str | None, about("in Telegram's words", "Bad Request: chat not found")]
    telegram_error_at: Annotated[str | None, about("when Telegram said so", A_TIME)]


class DeadLetters(BaseModel):
    """What was given up, newest first."""

    items: Annotated[list[DeadLetter], about("fewer than `limit` where `q` is searched")]
    next_cursor: Cursor


class Verdict(BaseModel):
    """What became of a message that somebody took back, or sent again."""

    message_id: Annotated[str, about("of the message", AN_ID)]
    state: Annotated[MessageState, about("that it is in now", "cancelled")]
    parts_sent: Annotated[int, about("how many of its parts are in the chat", 0)]
    possible_duplicate: Annotated[bool, about("whether it may arrive more than once", False)]


class EventWithMessages(BaseModel):
    """An event and its messages."""

    id: Annotated[str, about("of the event", AN_ID)]
    accepted_at: Annotated[str, about("when it was accepted", A_TIME)]
    correlation_id: Annotated[str, about("of the event", "order-4711")]
    client: Annotated[str, about("name of the key that posted it; `folder` for files", "ci")]
    event: Annotated[Any, about("as it was posted", {"type": "task_completion", "title": "Build finished"})]
    messages: Annotated[list[Message], about("one a recipient")]


class EventType(BaseModel):
    """A type of events."""

    type: Annotated[str, about("as it is posted", "task_completion")]
    category: Annotated[str, about("one of ten", "task")]


class EventTypes(BaseModel):
    """The types of events."""

    count: Annotated[int, about("how many", 47)]
    event_types: Annotated[list[EventType], about("by category")]


class Rates(BaseModel):
    """Of the last minute."""

    accepted_per_second: Annotated[float, about("messages that were accepted", 15.2)]
    delivered_per_second: Annotated[float, about("messages that were delivered", 15.2)]


class Latency(BaseModel):
    """From acceptance to delivery, in seconds."""

    p50: Annotated[float, about("of half of the messages it was less", 0.2)]
    p95: Annotated[float, about("of 95 % it was less", 0.8)]
    p99: Annotated[float, about("of 99 % it was less", 1.9)]


class Stats(BaseModel):
    """What this process has done since it started, and the queue of all replicas."""

    accepted_total: Annotated[int, about("messages that were accepted", 1_542)]
    delivered_total: Annotated[int, about("messages that arrived", 1_540)]
    failed_total: Annotated[int, about("messages that ended otherwise", 2)]
    retries_total: Annotated[int, about("attempts that are to be repeated", 4)]
    dead_letters_total: Annotated[int, about("messages that were given up", 1)]
    unknown_total: Annotated[int, about("attempts of which nobody knows whether they arrived", 0)]
    queue: Annotated[
        dict[str, int] | None,
        about(
            "messages that wait, by state; `scheduled` are ahead of their time; null before it was counted",
            {"queued": 3, "scheduled": 1},
        ),
    ]
    oldest_message_age_seconds: Annotated[float | None, about("of the one that waits longest", 1.2)]
    rates: Annotated[Rates, about("of the last minute")]
    delivery_rate_percent: Annotated[
        float | None, about("of what ended in the last hour; null where nothing did", 99.9)
    ]
    latency_seconds: Annotated[Latency | None, about("null where nothing was delivered")]
    active_correlations: Annotated[int | None, about("correlation ids with something on its way", 3)]
