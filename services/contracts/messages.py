"""Messages as the bridge returns them: lists, details, dead letters, event types and numbers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, StringConstraints

from services.contracts.buttons import Buttons
from services.contracts.fields import A_TIME, A_TRACE, AN_ID, Format, Line, Preview, Strict, about

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

Cursor = Annotated[str | None, about("pass it as `cursor` for the next page; null on the last one", "4711")]


class _Message(BaseModel):
    """One event for one recipient: the fields that every view has."""

    id: Annotated[str, about("ID of the message", AN_ID)]
    event_id: Annotated[str, about("ID of its event", AN_ID)]
    type: Annotated[str, about("type that the event is handled as", "task_completion")]
    category: Annotated[str, about("category of that type", "task")]
    title: Annotated[str, about("title of the event", "Build finished")]
    source: Annotated[str, about("program that sent the event", "ci")]
    severity: Annotated[str, about("severity of the event", "low")]
    chat_id: Annotated[int, about("chat that gets it", 1001)]
    thread_id: Annotated[int | None, about("topic of the chat", 7)]
    bot: Annotated[str, about("bot that sends it", "default")]
    status: Annotated[MessageState, about("state of the message", "delivered")]
    accepted_at: Annotated[str, about("when its event was accepted", A_TIME)]
    finished_at: Annotated[str | None, about("when it ended; null until then", A_TIME)]
    next_attempt_at: Annotated[str | None, about("time of the next attempt, while it waits for one", A_TIME)]
    deliver_at: Annotated[str | None, about("its `deliver_at`, while it waits for that time", A_TIME)]
    quiet_until: Annotated[str | None, about("end of the quiet hours that delay it", A_TIME)]
    expires_at: Annotated[str | None, about("when it expires", A_TIME)]
    possible_duplicate: Annotated[bool, about("whether it may have arrived more than once", False)]
    correlation_id: Annotated[str, about("correlation ID of the event", "order-4711")]
    trace_id: Annotated[str | None, about("trace of the event", A_TRACE)]
    telegram_message_ids: Annotated[list[int], about("Telegram's message IDs of its parts, in order", [42])]
    last_error: Annotated[str | None, about("reason of the last failed attempt", "flood_control")]


class Message(_Message):
    """One event for one recipient, with its current state."""

    attempts: Annotated[int, about("number of attempts made", 1)]


class Page(BaseModel):
    """A page of messages, newest first."""

    items: Annotated[
        list[Message], about("messages; a search by `q` or `campaign_id` may return fewer than `limit`")
    ]
    next_cursor: Cursor


class StateChange(BaseModel):
    """A change of a message's state."""

    at: Annotated[str, about("when it changed", A_TIME)]
    state: Annotated[MessageState, about("the new state", "sending")]
    cause: Annotated[str, about("why it changed", "attempt 1")]
    duration_ms: Annotated[float | None, about("time in this state; null for the current state", 12.5)]


class Attempt(BaseModel):
    """One try to send a part of a message."""

    number: Annotated[int, about("number of the attempt, from 1", 1)]
    part: Annotated[int, about("part of the message that was sent, from 1", 1)]
    claimed_at: Annotated[str, about("when a worker claimed the message", A_TIME)]
    started_at: Annotated[
        str | None, about("when the call to Telegram started; null until it is settled", A_TIME)
    ]
    duration_ms: Annotated[float | None, about("duration of the call", 45.2)]
    limiter_wait_ms: Annotated[float, about("how long Telegram's rate limits delayed it", 0.0)]
    outcome: Annotated[str | None, about("sent, not_sent or unknown; null until it is settled", "sent")]
    reason: Annotated[
        str | None, about("reason of the failure, from a fixed list; none if it did not fail", "none")
    ]
    detail: Annotated[
        str | None,
        about(
            "Telegram's error text; `as plain text` if Telegram took the text only without formatting",
            "Too Many Requests: retry after 5",
        ),
    ]
    retry_after_seconds: Annotated[float | None, about("seconds that Telegram asked to wait", 5.0)]
    telegram_message_id: Annotated[int | None, about("Telegram's ID of the sent message", 42)]


class MessageLinks(BaseModel):
    """URLs of a message's event and trace."""

    event: Annotated[str, about("the event", f"/api/v1/events/{AN_ID}")]
    trace: Annotated[
        str | None,
        about(
            "its trace in Jaeger; null if JAEGER_UI_URL is not set",
            f"http://localhost:16686/trace/{A_TRACE}",
        ),
    ]


class _WithHistory(_Message):
    events: Annotated[list[StateChange], about("every change of its state, in order")]
    attempts_made: Annotated[int, about("number of attempts made", 1)]
    links: Annotated[MessageLinks, about("links to related resources")]


class MessageHistory(_WithHistory):
    """A message with every state change and every attempt, without its content."""

    attempts: Annotated[list[Attempt], about("every attempt, in order")]


class Digest(BaseModel):
    """A digest: messages that are delivered as one."""

    key: Annotated[str, about("its `digest_key`", "ci-nightly")]
    until: Annotated[str, about("end of its window", A_TIME)]
    message_id: Annotated[
        str | None, about("ID of the message that shows them; null before the end of the window", AN_ID)
    ]
    members: Annotated[list[str], about("IDs of the messages in it, in order", [AN_ID])]


class MessageDetail(MessageHistory):
    """A message with every state change, every attempt and its content."""

    body: Annotated[str, about("its event as a JSON text", '{"type":"task_completion","title":"Done"}')]
    repeats: Annotated[int, about("events with its `dedup_key` that were counted here", 0)] = 0
    last_repeat_at: Annotated[str | None, about("when the last of them came", A_TIME)] = None
    digest: Annotated[
        Digest | None, about("the digest that it waits in, that shows it, or that it is; null: none")
    ] = None


class TracedMessage(_WithHistory):
    """A message with every change of its state."""

    since: Annotated[str, about("when it entered its state", A_TIME)]
    age_seconds: Annotated[float, about("seconds from acceptance to now, or to its end", 1.2)]


class TracedMessages(BaseModel):
    """A page of messages with every change of their state, newest first."""

    items: Annotated[list[TracedMessage], about("messages in flight, or all")]
    next_cursor: Cursor


class DeadLetter(Message):
    """A message that was given up, with the reason."""

    reason: Annotated[str, about("why it was given up, from a fixed list", "chat_not_found")]
    detail: Annotated[str | None, about("Telegram's error text", "Bad Request: chat not found")]
    telegram_error_at: Annotated[str | None, about("when Telegram answered with that error", A_TIME)]


class DeadLetters(BaseModel):
    """A page of dead letters, newest first."""

    items: Annotated[list[DeadLetter], about("dead letters; a search by `q` may return fewer than `limit`")]
    next_cursor: Cursor


class CancelReplayResult(BaseModel):
    """The message after a cancel or a replay."""

    message_id: Annotated[str, about("ID of the message", AN_ID)]
    state: Annotated[MessageState, about("its state now", "cancelled")]
    parts_sent: Annotated[int, about("number of its parts that are in the chat", 0)]
    possible_duplicate: Annotated[bool, about("whether it may arrive more than once", False)]


class MessageChanges(Strict):
    """What of a delivered message is changed: the given fields; null sets a field's default."""

    title: Annotated[Line | None, about("first line of the message, in bold", "Build finished")] = None
    description: Annotated[
        Annotated[str, StringConstraints(max_length=2_000)] | None,
        about("text below the title", "All tests pass"),
    ] = None
    format: Annotated[Format | None, about("how `description` is read", "markdown")] = None
    link_preview: Annotated[Preview | None, about("preview of a link", False)] = None
    buttons: Annotated[Buttons | None, about("rows of buttons; null: none", [])] = None


class EditAccepted(BaseModel):
    """The answer after an edit is on disk."""

    message_id: Annotated[str, about("ID of the message that makes the edit", AN_ID)]
    event_id: Annotated[str, about("ID of the changed event", AN_ID)]
    edits: Annotated[str, about("ID of the message that it edits", AN_ID)]


class DeletionAccepted(BaseModel):
    """The answer after a deletion is on disk."""

    message_id: Annotated[
        str | None, about("ID of the message that makes the deletion; null: it was cancelled", AN_ID)
    ]
    deletes: Annotated[str, about("ID of the message that it deletes", AN_ID)]
    cancelled: Annotated[bool, about("whether the message was not sent yet, and is cancelled", False)]


class EventWithMessages(BaseModel):
    """An event and its messages."""

    id: Annotated[str, about("ID of the event", AN_ID)]
    accepted_at: Annotated[str, about("when it was accepted", A_TIME)]
    correlation_id: Annotated[str, about("correlation ID of the event", "order-4711")]
    client: Annotated[str, about("name of the API key that posted it; `folder` for files", "ci")]
    event: Annotated[
        Any, about("the event as it was posted", {"type": "task_completion", "title": "Build finished"})
    ]
    messages: Annotated[list[Message], about("one message for each recipient")]


class EventType(BaseModel):
    """An event type."""

    type: Annotated[str, about("name of the type", "task_completion")]
    category: Annotated[str, about("its category, one of ten", "task")]


class EventTypes(BaseModel):
    """The event types."""

    count: Annotated[int, about("number of types", 47)]
    event_types: Annotated[list[EventType], about("the types by category")]


class Rates(BaseModel):
    """Messages per second, averaged over the last minute."""

    accepted_per_second: Annotated[float, about("messages accepted per second", 15.2)]
    delivered_per_second: Annotated[float, about("messages delivered per second", 15.2)]


class Latency(BaseModel):
    """Time from acceptance to delivery, in seconds."""

    p50: Annotated[float, about("median", 0.2)]
    p95: Annotated[float, about("95th percentile", 0.8)]
    p99: Annotated[float, about("99th percentile", 1.9)]


class Stats(BaseModel):
    """Counts, rates and the queue of all replicas, as the database has them."""

    accepted_total: Annotated[int | None, about("messages accepted since `counted_since`", 1_542)]
    delivered_total: Annotated[int | None, about("messages delivered", 1_540)]
    failed_total: Annotated[
        int | None,
        about("messages that ended undelivered, but for muted, superseded and cancelled ones", 2),
    ]
    retries_total: Annotated[int | None, about("attempts followed by a retry", 4)]
    dead_letters_total: Annotated[int | None, about("messages given up", 1)]
    unknown_total: Annotated[int | None, about("messages whose outcome stayed unknown", 0)]
    counted_since: Annotated[str | None, about("when counting began; null until it is counted", A_TIME)]
    counted_at: Annotated[str | None, about("time of the counts; null until it is counted", A_TIME)]
    queue: Annotated[
        dict[str, int] | None,
        about(
            "messages by state; `scheduled` are not due yet; null until it is measured",
            {"queued": 3, "scheduled": 1},
        ),
    ]
    oldest_message_age_seconds: Annotated[
        float | None, about("age of the oldest unfinished message that is due", 1.2)
    ]
    rates: Annotated[Rates | None, about("rates of the last minute; null until they are measured")]
    delivery_rate_percent: Annotated[
        float | None,
        about("delivered share of the messages that ended in the last hour; null if none did", 99.9),
    ]
    latency_seconds: Annotated[
        Latency | None,
        about("of the newest 2,000 deliveries of the last hour; null if there was none"),
    ]
    active_correlations: Annotated[int | None, about("correlation IDs with unfinished messages", 3)]
