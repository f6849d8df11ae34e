"""The values that the engine works on: events, messages, attempts and their results. Pure.

- `content`: what a message shows: texts, documents, files.
- `dedup`: repeated events. `digest`: messages that are sent as one. `step`: what one call does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages.content import Album as Album
from services.outbox.messages.content import Document as Document
from services.outbox.messages.content import EventFile as EventFile
from services.outbox.messages.content import FileNotReadyError as FileNotReadyError
from services.outbox.messages.content import Media as Media
from services.outbox.messages.content import MediaKind as MediaKind
from services.outbox.messages.content import Part as Part
from services.outbox.messages.content import Rendered as Rendered
from services.outbox.messages.content import SendOptions as SendOptions
from services.outbox.messages.content import Text as Text
from services.outbox.messages.dedup import Deduplication
from services.outbox.messages.digest import IN_DIGEST as IN_DIGEST
from services.outbox.messages.digest import DigestKey as DigestKey


class MessageState(StrEnum):
    """Where a message is between its acceptance and its end."""

    QUEUED = "queued"  #: stored; waits to be claimed
    SENDING = "sending"  #: claimed; an attempt is open
    RETRY_WAIT = "retry_wait"  #: an attempt failed; the next one has a time
    UNKNOWN = "unknown"  #: may have been delivered, and is not sent again
    DELIVERED = "delivered"  #: Telegram answered with a message id
    DEAD_LETTER = "dead_letter"  #: given up, with the reason; can be replayed
    SUPPRESSED = "suppressed"  #: not sent on purpose: blocked or muted chat, superseded or pointless edit
    EXPIRED = "expired"  #: its ``expires_at`` passed before it was sent
    CANCELLED = "cancelled"  #: cancelled by a person or a client


WAITING = (MessageState.QUEUED, MessageState.RETRY_WAIT)
#: States counted as queue depth; scheduled messages are counted apart, as :data:`SCHEDULED`.
COUNTED = (
    MessageState.QUEUED,
    MessageState.SENDING,
    MessageState.RETRY_WAIT,
    MessageState.UNKNOWN,
    MessageState.DEAD_LETTER,
)
SCHEDULED = "scheduled"
FINISHED = (
    MessageState.DELIVERED,
    MessageState.DEAD_LETTER,
    MessageState.SUPPRESSED,
    MessageState.EXPIRED,
    MessageState.CANCELLED,
    MessageState.UNKNOWN,
)
UNFINISHED = (MessageState.QUEUED, MessageState.SENDING, MessageState.RETRY_WAIT)
#: Finished without delivery, though delivery was intended; see also :func:`is_failure`.
FAILED = (MessageState.DEAD_LETTER, MessageState.UNKNOWN, MessageState.EXPIRED)


def may_have_arrived(*, part: int, possible_duplicate: bool, resends: int) -> bool:
    """Whether the next part of a message may be in the chat: the answer to an attempt was lost.

    Args:
        part: number of parts that are delivered.
        possible_duplicate: whether an attempt, of any part, had the outcome unknown.
        resends: attempts of the next part with the outcome unknown, since the last replay.
    """
    return resends > 0 or (possible_duplicate and part == 0)


#: ``due_at`` of a message that may go as soon as its lane allows.
AT_ONCE = 0.0
#: ``due_at`` of a message with delivered parts: the rest goes before every other message of the chat.
CONTINUATION = -1.0


def is_continuation(due_at: float) -> bool:
    """Whether a message with this ``due_at`` goes before every other message of its chat."""
    return due_at < AT_ONCE


def is_scheduled(due_at: float) -> bool:
    """Whether this ``due_at`` is a time, seconds since the epoch; as SQL in services.outbox.schema."""
    return due_at > AT_ONCE


class Outcome(StrEnum):
    """The outcome of one attempt."""

    SENT = "sent"
    NOT_SENT = "not_sent"  #: certainly not: Telegram refused it, or was never reached
    UNKNOWN = "unknown"  #: the request left, and no answer came


class Reason(StrEnum):
    """Why an attempt failed or a message ended: a closed set, because it is a metric label too."""

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
    CANNOT_EDIT = "cannot_edit"  #: the message that it edits was deleted, or cannot be edited any more
    CANNOT_DELETE = "cannot_delete"  #: Telegram does not let the bot delete the message
    NEVER_SENT = "never_sent"  #: the message that it edits was never delivered
    FILE_NOT_READY = "file_not_ready"  #: a file of its event could not be fetched from its URL yet
    UNPROCESSABLE = "unprocessable"  #: its row cannot be read, or the result of its attempt not be written
    MUTED = "muted"
    SUPERSEDED = "superseded"  #: a later event with the same update key replaced it
    RESTORED = "restored"  #: it waited in a backup that was restored, and may have been sent after the backup


#: The chat refuses the bot: it is blocked, and its later messages are suppressed.
DESTINATION_REFUSES = frozenset({Reason.BOT_BLOCKED, Reason.CHAT_GONE})


def is_failure(state: str, reason: str) -> bool:
    """Whether a message ended undelivered though delivery was intended; every figure counts by this.

    A suppressed message is a failure if its chat refuses the bot, and not if it was muted, superseded or
    pointless.

    Args:
        state: a :class:`MessageState`.
        reason: a :class:`Reason`, why it ended.
    """
    return state in FAILED or (state == MessageState.SUPPRESSED and reason in DESTINATION_REFUSES)


class Lane(IntEnum):
    """Priority: lower lanes are claimed first. Within one lane of a chat the order of acceptance holds."""

    URGENT = 0  #: taps, approvals, alerts
    NORMAL = 1
    BULK = 2


class UnknownPolicy(StrEnum):
    """What to do with a message whose attempt has the outcome unknown."""

    RESEND = "resend"  #: send again, marked as a possible duplicate
    HOLD = "hold"  #: leave it in the state ``unknown`` until a person decides


class Origin(StrEnum):
    """Which part of the system made an event; it decides how the body is read."""

    CLIENT = "client"  #: a client's event, as it was posted
    APPROVAL = "approval"  #: a question to a person
    BOT = "bot"  #: the bot's own words: answers to commands, results of approvals
    ALERT = "alert"  #: a notification of the alert relay
    DELETION = "deletion"  #: deletes an earlier message, which its message edits
    DIGEST = "digest"  #: shows several messages as one


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as it is stored, once for all its recipients."""

    id: str
    type: str
    category: str
    title: str
    source: str
    severity: str
    body: str  #: JSON that the owning service's ``render`` understands
    accepted_at: float
    trace: TraceContext
    #: The client's span, where it sent a ``traceparent``.
    parent: TraceContext | None = None
    correlation_id: str = ""
    client: str = ""  #: name of the API key that posted it
    #: URL that is called when one of its messages ends; None: only the URLs of the settings.
    callback_url: str | None = None
    origin: Origin = Origin.CLIENT
    #: In the order in which they are shown.
    files: tuple[EventFile, ...] = ()


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as it is stored: one event for one recipient."""

    id: str
    chat_id: int
    thread_id: int | None = None
    lane: Lane = Lane.NORMAL
    silent: bool = False
    deliver_at: float = AT_ONCE  #: seconds since the epoch, or :data:`AT_ONCE`
    expires_at: float | None = None
    on_unknown: UnknownPolicy = UnknownPolicy.RESEND
    bot: str = "default"
    #: Id of an earlier message of the same chat and lane, which it edits.
    edits: str | None = None
    #: A later message with the same key, of the same client to the same topic, edits the earlier one.
    update_key: str | None = None
    #: When the state that it shows was true, seconds since the epoch: an earlier one does not replace it.
    update_at: float | None = None
    #: It waits for the other messages of the digest, until ``deliver_at``.
    digest: DigestKey | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's ``Idempotency-Key`` with the answer that a repetition gets."""

    client: str
    key: str
    body_hash: str  #: SHA-256, hexadecimal
    answer: str  #: JSON


@dataclass(frozen=True, slots=True)
class SingleUse:
    """A name that can be used once, as replay protection: a second submission with it is refused."""

    scope: str  #: such as signatures or files
    name: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What is stored in one transaction, or not at all.

    Args:
        events: the events.
        messages: the messages of each event, by position.
        idempotency: the key that it is stored under, or None.
        single_use: the name that it uses up, or None.
        alongside: writes further rows of the owning service in the same transaction; if it raises, nothing of
            the transaction is stored.
    """

    events: tuple[EventRecord, ...]
    messages: tuple[tuple[MessageRecord, ...], ...]
    idempotency: IdempotencyKey | None = None
    single_use: SingleUse | None = None
    alongside: Callable[[Any], None] | None = None
    dedup: Deduplication | None = None  #: None: no event has a dedup key


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message with an open attempt: this worker sends it now, and settles it."""

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
    limiter_wait: float  #: seconds that Telegram's rates delayed it
    attempt: int  #: number of this attempt, from 1
    retries: int  #: failed attempts of the next part; they decide the wait
    part: int  #: number of parts that are delivered
    possible_duplicate: bool
    plain: bool  #: send without entities, because Telegram refused them
    telegram_message_ids: tuple[int, ...] = ()
    severity: str = ""
    origin: Origin = Origin.CLIENT
    edits: int | None = None  #: Telegram's id of the message to edit; None: it is sent as a new message
    resends: int = 0  #: attempts of the next part that may have arrived; above 0 its text says so
    replayed_at: float | None = None  #: when a person replayed it
    waits_from: float = 0.0  #: the time it was to wait for: its deliver_at, the end of quiet hours; or 0
    #: Whether the message that it edits may be in the chat once more, under an id that is not known.
    unseen_copy: bool = False
    reply_to: int | None = None  #: Telegram's id of the message that it answers; None: it answers none
    to_general: bool = False  #: send without the topic: the last attempt was refused because it is gone
    files: tuple[EventFile, ...] = ()
    refused_before: bool = False  #: its chat has refused the bot, and is tried again

    @property
    def is_edit(self) -> bool:
        """Whether the next part is an edit; what follows an edit is a new message."""
        return self.edits is not None and self.part == 0 and not self.is_deletion

    @property
    def is_deletion(self) -> bool:
        """Whether it deletes an earlier message."""
        return self.origin is Origin.DELETION

    @property
    def changes_earlier(self) -> bool:
        """Whether the next call changes what is in the chat: it makes no sound, and can be made twice."""
        return self.is_edit or self.is_deletion

    @property
    def may_have_arrived(self) -> bool:
        """See :func:`may_have_arrived`."""
        return may_have_arrived(
            part=self.part, possible_duplicate=self.possible_duplicate, resends=self.resends
        )

    @property
    def entered_at(self) -> float:
        """When it began to wait: accepted, due (deliver_at, the end of quiet hours), or replayed last."""
        return max(self.accepted_at, self.replayed_at or 0.0, self.waits_from)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one call to Telegram or another channel; times are seconds since the epoch."""

    outcome: Outcome
    reason: Reason
    started_at: float
    finished_at: float
    message_id: int | None = None
    retry_after: float | None = None  #: seconds
    migrate_to: int | None = None
    detail: str = ""
    formatted: bool = False  #: whether the text was sent with entities
    more_ids: tuple[int, ...] = ()  #: of an album's further messages
    repeatable: bool = False  #: the same call again makes no difference to the recipient


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a message after an attempt."""

    state: MessageState
    due_at: float = AT_ONCE
    retries: int = 0
    part: int = 0
    possible_duplicate: bool = False
    plain: bool = False
    #: No message goes to the chat before this time, seconds since the epoch.
    pause_chat_until: float = 0.0
    block_chat: Reason | None = None
    stop_bot: Reason | None = None
    migrate_to: int | None = None
    #: The edit is sent as a new message instead.
    as_new: bool = False
    resends: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """A claimed message with its result and the decision, to be written."""

    message: Claimed
    result: Result
    decision: Decision
    parts: int = 1
    #: False where it ended without an attempt: expired or suppressed.
    attempted: bool = True
    #: When the shared pace of the chat allows the next message, seconds since the epoch; 0: it says nothing.
    chat_open_at: float = 0.0
