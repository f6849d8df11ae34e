"""The values that the engine works on, and the states of a message's life."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from services.kit.telemetry.telemetry import TraceContext


class State(StrEnum):
    QUEUED = "queued"  #: on disk, waits for its turn
    SENDING = "sending"  #: claimed; an attempt is open
    RETRY_WAIT = "retry_wait"  #: not delivered yet, the next attempt has a time
    UNKNOWN = "unknown"  #: sent, but no answer came, and the event forbids a second try
    DELIVERED = "delivered"  #: Telegram answered with a message id
    DEAD_LETTER = "dead_letter"  #: given up, with the reason; can be replayed
    SUPPRESSED = "suppressed"  #: not sent on purpose: the destination is known to refuse
    EXPIRED = "expired"  #: its ``expires_at`` passed first
    CANCELLED = "cancelled"  #: taken back by a caller


WAITING = (State.QUEUED, State.RETRY_WAIT)
#: What the queue's depth is told by: these states, and of what is queued apart what is ahead of its time.
COUNTED = (State.QUEUED, State.SENDING, State.RETRY_WAIT, State.UNKNOWN, State.DEAD_LETTER)
SCHEDULED = "scheduled"
FINISHED = (
    State.DELIVERED,
    State.DEAD_LETTER,
    State.SUPPRESSED,
    State.EXPIRED,
    State.CANCELLED,
    State.UNKNOWN,
)
UNFINISHED = (State.QUEUED, State.SENDING, State.RETRY_WAIT)
#: Finished without delivery, though delivery was intended.
FAILED = (State.DEAD_LETTER, State.UNKNOWN, State.EXPIRED)


#: ``due_at`` of a message that may go at once.
AT_ONCE = 0.0
#: ``due_at`` of a message whose first parts are delivered: the rest goes before anything else in the chat.
CONTINUATION = -1.0


def is_continuation(due_at: float) -> bool:
    """Returns whether the message's rest must go before everything else in the chat."""
    return due_at < AT_ONCE


def is_scheduled(due_at: float) -> bool:
    """Returns whether the message has a time of its own, seconds since the epoch."""
    return due_at > AT_ONCE


class Outcome(StrEnum):
    """What is known of one attempt."""

    SENT = "sent"
    NOT_SENT = "not_sent"  #: certain: Telegram refused, or was never reached
    UNKNOWN = "unknown"  #: the request left, no answer came


class Reason(StrEnum):
    """Why an attempt ended as it did: a closed set, since it is a metric label too."""

    NONE = "none"
    FLOOD_CONTROL = "flood_control"
    CHAT_MIGRATED = "chat_migrated"
    BOT_BLOCKED = "bot_blocked"
    CHAT_GONE = "chat_gone"
    CHAT_NOT_FOUND = "chat_not_found"
    NO_RIGHTS = "no_rights"
    THREAD_NOT_FOUND = "thread_not_found"
    BAD_MARKUP = "bad_markup"
    TOO_LONG = "too_long"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a reason, no secret
    BOT_FROZEN = "bot_frozen"
    CONFLICT = "conflict"
    MISDIRECTED = "misdirected"
    SERVER_ERROR = "server_error"
    BAD_ANSWER = "bad_answer"
    CONNECT_FAILED = "connect_failed"
    NO_ANSWER = "no_answer"
    WORKER_LOST = "worker_lost"
    EXPIRED = "expired"
    RENDER_FAILED = "render_failed"
    CANNOT_EDIT = "cannot_edit"  #: the message that it edits is gone, or not ours to edit any more
    NEVER_SENT = "never_sent"  #: the message that it edits never reached its chat
    MUTED = "muted"
    SUPERSEDED = "superseded"  #: a later event with the same update key was there first


class Lane(IntEnum):
    """Who goes first when there is not room for all. Order holds within a chat's lane."""

    URGENT = 0  #: taps, approvals, alerts
    NORMAL = 1
    BULK = 2


class UnknownPolicy(StrEnum):
    """What to do when nobody can know whether a message arrived."""

    RESEND = "resend"  #: send again, marked as a possible duplicate
    HOLD = "hold"  #: leave it in ``unknown`` for a person


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What a client posted, once, however many recipients it has."""

    id: str
    type: str
    category: str
    title: str
    source: str
    severity: str
    body: str  #: JSON that the owning service's ``render`` understands
    accepted_at: float
    trace: TraceContext
    #: The caller's own span, when it sent a ``traceparent``.
    parent: TraceContext | None = None
    correlation_id: str = ""
    client: str = ""  #: bounded name of the key that posted it
    #: Who is told how its messages end; None: nobody but whom the settings name.
    callback_url: str | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One event for one recipient."""

    id: str
    chat_id: int
    thread_id: int | None = None
    lane: Lane = Lane.NORMAL
    silent: bool = False
    deliver_at: float = 0.0  #: seconds since the epoch; 0 is at once
    expires_at: float | None = None
    on_unknown: UnknownPolicy = UnknownPolicy.RESEND
    bot: str = "default"
    #: Id of an earlier message of the same chat and lane: it is edited, none is sent.
    edits: str | None = None
    #: A later message of the chat with the same key edits the earlier one (progress).
    update_key: str | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    client: str
    key: str
    body_hash: str
    answer: str  #: JSON of the answer that a repetition gets


@dataclass(frozen=True, slots=True)
class Once:
    """What a submission uses up: a second one with the same name is refused."""

    scope: str
    name: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What is stored together or not at all.

    Args:
        alongside: writes rows of the owner's in the same transaction; what it raises fails the others too.
    """

    events: tuple[NewEvent, ...]
    #: The messages of each event, by position.
    messages: tuple[tuple[NewMessage, ...], ...]
    idempotency: IdempotencyKey | None = None
    once: Once | None = None
    alongside: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this worker may send now, and must settle."""

    seq: int
    id: str
    event_id: str
    event_type: str
    category: str
    source: str
    title: str
    body: str
    correlation_id: str
    trace: TraceContext
    bot: str
    chat_id: int
    thread_id: int | None
    lane: Lane
    silent: bool
    on_unknown: UnknownPolicy
    accepted_at: float
    due_at: float
    expires_at: float | None
    claimed_at: float
    limiter_wait: float  #: seconds that it could have gone but for Telegram's rates
    attempt: int  #: number of this attempt, from 1
    retries: int  #: failed attempts of the part that is next; they decide the wait
    part: int  #: how many parts have been delivered
    possible_duplicate: bool
    plain: bool  #: send without entities: Telegram refused them before
    telegram_message_ids: tuple[int, ...] = ()
    severity: str = ""
    #: Telegram's id of the message to edit; None for one that is sent.
    edits: int | None = None
    resends: int = 0  #: attempts that may have arrived, of the part that is next
    replayed_at: float | None = None  #: when a person put it back into the queue

    @property
    def entered_at(self) -> float:
        """When it came into the queue, for the last time."""
        return max(self.accepted_at, self.replayed_at or 0.0)


@dataclass(frozen=True, slots=True)
class Text:
    """Text and its entities: never markup, so nothing in it can fail to parse.

    Offsets and lengths of entities are UTF-16 code units, as Telegram counts them.
    """

    text: str
    entities: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """Content that is too long for messages, sent as a file with a caption."""

    filename: str
    content: bytes
    caption: Text


@dataclass(frozen=True, slots=True)
class Rendered:
    """What Telegram gets: the parts in order; the keyboard belongs to the last."""

    parts: tuple[Text | Document, ...]
    reply_markup: Mapping[str, Any] | None = None
    #: Telegram's id of a message of the same chat; where that is gone, it is sent all the same.
    reply_to: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What one call to Telegram came to."""

    outcome: Outcome
    reason: Reason
    started_at: float
    finished_at: float
    message_id: int | None = None
    retry_after: float | None = None
    migrate_to: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the message."""

    state: State
    due_at: float = 0.0
    retries: int = 0
    part: int = 0
    possible_duplicate: bool = False
    plain: bool = False
    #: The chat may not be sent to before this time.
    pause_chat_until: float = 0.0
    block_chat: Reason | None = None
    stop_bot: Reason | None = None
    migrate_to: int | None = None
    #: What was to be an edit is sent as a message of its own.
    as_new: bool = False
    resends: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """A claimed message with its result and decision, ready to be written."""

    message: Claimed
    result: Result
    decision: Decision
    parts: int = 1
    #: False where it ended without being tried: expired, or not sent on purpose.
    attempted: bool = True
