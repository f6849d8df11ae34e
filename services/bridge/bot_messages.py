"""What the bridge says by itself: questions, verdicts, answers to commands. Pure.

It is put into words when it is decided, and stored as it will be sent: what the API shows of it
is what people saw.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import uuid_utils

from services.contracts.events import CATEGORY_OF
from services.contracts.fields import Severity
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import (
    Claimed,
    Document,
    EventRecord,
    Lane,
    MessageRecord,
    Origin,
    Rendered,
    Submission,
    Text,
    UnknownPolicy,
)

CLIENT = "bridge"
#: Events whose body is that of :func:`body`.
_OWN = (Origin.APPROVAL, Origin.BOT)


@dataclass(frozen=True, slots=True)
class Said:
    """Parts in order; the keyboard belongs to the last.

    Args:
        parts: texts and documents, each within Telegram's limits.
        keyboard: an inline keyboard, or None.
        reply_to: Telegram's id of the message that it answers.
    """

    parts: tuple[Text | Document, ...]
    keyboard: Mapping[str, Any] | None = None
    reply_to: int | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where something is said, or which earlier message it takes the place of."""

    chat_id: int
    thread_id: int | None = None
    edits: str | None = None
    expires_at: float | None = None
    silent: bool = False
    on_unknown: UnknownPolicy = UnknownPolicy.RESEND


@dataclass(frozen=True, slots=True)
class About:
    """What something that is said belongs to.

    Args:
        kind: type of the event that carries it.
        title: short, for lists.
        correlation_id: of what it belongs to; empty: its own.
        trace: under which span it is said; None: a trace of its own.
        source: who asked.
        severity: of the event.
        client: name of the key that had it said; unset: the bridge itself.
    """

    kind: str
    title: str
    correlation_id: str = ""
    trace: TraceContext | None = None
    source: str = CLIENT
    severity: Severity = Severity.LOW
    client: str = CLIENT


def event(
    said: Said, to: Sequence[Recipient], about: About, context: TraceContext, *, bot: str, now: float
) -> tuple[EventRecord, tuple[MessageRecord, ...]]:
    """An event that carries it, and one message a recipient, ahead of what is not urgent.

    Args:
        said: what.
        to: whom.
        about: what it belongs to.
        context: the span of its own.
        bot: who says it.
        now: seconds since the epoch.
    """
    identifier = str(uuid_utils.uuid7())
    made = EventRecord(
        id=identifier,
        type=about.kind,
        category=CATEGORY_OF[about.kind],
        title=about.title,
        source=about.source,
        severity=about.severity.value,
        body=body(said),
        accepted_at=now,
        trace=context,
        parent=about.trace,
        correlation_id=about.correlation_id or identifier,
        client=about.client,
        origin=Origin.APPROVAL if about.kind == "approval_request" else Origin.BOT,
    )
    return made, messages(to, bot)


def messages(to: Sequence[Recipient], bot: str) -> tuple[MessageRecord, ...]:
    """One message a recipient, ahead of what is not urgent."""
    return tuple(
        MessageRecord(
            id=str(uuid_utils.uuid7()),
            chat_id=one.chat_id,
            thread_id=one.thread_id,
            lane=Lane.URGENT,
            silent=one.silent,
            on_unknown=one.on_unknown,
            expires_at=one.expires_at,
            bot=bot,
            edits=one.edits,
        )
        for one in to
    )


def submission(
    said: Said, to: Sequence[Recipient], about: About, context: TraceContext, *, bot: str, now: float
) -> Submission:
    """As :func:`event`, alone in a submission."""
    made, messages = event(said, to, about, context, bot=bot, now=now)
    return Submission((made,), (messages,))


def body(said: Said, posted: str | None = None) -> str:
    """The body of the event that carries it; with what a client posted, where that is why it is said."""
    parts = [_part(part) for part in said.parts]
    inner = {"parts": parts, "keyboard": said.keyboard, "reply_to": said.reply_to}
    of = {} if posted is None else {"event": orjson.Fragment(posted)}
    return orjson.dumps({"said": inner, **of}).decode()


def as_posted(stored: str, origin: Origin) -> Any:
    """The JSON that a client posted, from the body of an event; the body itself where no client posted it."""
    read = orjson.loads(stored)
    return read.get("event", read) if origin in _OWN else read


def _part(part: Text | Document) -> dict[str, Any]:
    if isinstance(part, Document):
        return {"file": part.filename, "content": part.content.decode(), **_part(part.caption)}
    return {"text": part.text, "entities": [dict(entity) for entity in part.entities]}


def is_own(message: Claimed) -> bool:
    """Whether the body is text that :func:`rendered` reads, and not a client's event."""
    return message.origin in _OWN


def rendered(stored: str) -> Rendered:
    """The reverse of :func:`body`."""
    inner = orjson.loads(stored)["said"]
    parts = tuple(_read(part) for part in inner["parts"])
    return Rendered(parts, inner["keyboard"], inner["reply_to"])


def _read(part: Mapping[str, Any]) -> Text | Document:
    text = Text(part["text"], tuple(part["entities"]))
    return Document(part["file"], part["content"].encode(), text) if "file" in part else text


def or_else(render: Callable[[Claimed], Rendered]) -> Callable[[Claimed], Rendered]:
    """A renderer for what the bridge says by itself, and by the other one for clients' events."""

    def either(message: Claimed) -> Rendered:
        return rendered(message.body) if is_own(message) else render(message)

    return either


def passes_mute(message: Claimed) -> bool:
    """What a muted chat gets all the same: what is critical, what asks, and what answers."""
    return (
        message.severity == Severity.CRITICAL.value
        or message.event_type == "approval_request"
        or is_own(message)
    )
