"""Bot messages: what the bridge itself sends, such as questions, verdicts and replies to commands. Pure.

A message is rendered when it is decided on, and stored as it will be sent: the API shows what people saw.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import uuid_utils

from services.contracts.events import CATEGORY_OF
from services.contracts.fields import Severity
from services.contracts.stored import json_of
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import (
    Claimed,
    Document,
    EventRecord,
    Lane,
    MessageRecord,
    Origin,
    Rendered,
    SendOptions,
    Submission,
    Text,
    UnknownPolicy,
)
from services.outbox.telegram.media import with_files

#: Client and source of events that the bridge itself creates.
CLIENT = "bridge"
#: Integers with fewer digits have 64 bits.
_DIGITS = 19
#: Origins of events whose body :func:`event_body` wrote.
_OWN = (Origin.APPROVAL, Origin.BOT, Origin.DIGEST)


@dataclass(frozen=True, slots=True)
class BotMessage:
    """What Telegram shows: parts in order; the keyboard belongs to the last.

    Args:
        parts: texts and documents, each within Telegram's limits.
        keyboard: an inline keyboard of the Bot API, or None.
        reply_to: Telegram's id of the message that this one replies to.
        link_preview: LinkPreviewOptions of the Bot API, or None.
    """

    parts: tuple[Text | Document, ...]
    keyboard: Mapping[str, Any] | None = None
    reply_to: int | None = None
    link_preview: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """The chat that gets a bot message, or with ``edits`` the id of our message that it replaces there."""

    chat_id: int
    thread_id: int | None = None
    edits: str | None = None
    expires_at: float | None = None
    silent: bool = False
    on_unknown: UnknownPolicy = UnknownPolicy.RESEND


@dataclass(frozen=True, slots=True)
class EventInfo:
    """Fields of the event that carries a bot message.

    Args:
        event_type: one of the event types of the API.
        title: short, for lists.
        correlation_id: empty: the event's id.
        trace: parent span of the event; None: the event begins a trace.
        source: the program that caused the message.
        severity: of the event.
        client: name of the key that caused the message.
    """

    event_type: str
    title: str
    correlation_id: str = ""
    trace: TraceContext | None = None
    source: str = CLIENT
    severity: Severity = Severity.LOW
    client: str = CLIENT


def new_event(
    message: BotMessage,
    to: Sequence[Recipient],
    info: EventInfo,
    span: TraceContext,
    *,
    bot: str,
    now: float,
) -> tuple[EventRecord, tuple[MessageRecord, ...]]:
    """An event that carries a bot message, with one urgent message for each recipient.

    Args:
        message: to send.
        to: recipients.
        info: fields of the event.
        span: the event's own span.
        bot: name of the bot that sends it.
        now: seconds since the epoch.
    """
    identifier = str(uuid_utils.uuid7())
    event = EventRecord(
        id=identifier,
        type=info.event_type,
        category=CATEGORY_OF[info.event_type],
        title=info.title,
        source=info.source,
        severity=info.severity.value,
        body=event_body(message),
        accepted_at=now,
        trace=span,
        parent=info.trace,
        correlation_id=info.correlation_id or identifier,
        client=info.client,
        origin=Origin.APPROVAL if info.event_type == "approval_request" else Origin.BOT,
    )
    return event, new_messages(to, bot)


def new_messages(to: Sequence[Recipient], bot: str) -> tuple[MessageRecord, ...]:
    """One urgent message for each recipient."""
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


def new_submission(
    message: BotMessage,
    to: Sequence[Recipient],
    info: EventInfo,
    span: TraceContext,
    *,
    bot: str,
    now: float,
) -> Submission:
    """:func:`new_event` as a submission to the engine."""
    event, messages = new_event(message, to, info, span, bot=bot, now=now)
    return Submission((event,), (messages,))


def event_body(message: BotMessage, posted: str | None = None) -> str:
    """The stored body of an event that carries a bot message.

    Args:
        message: to send.
        posted: JSON of the client's event that the message shows, if there is one.
    """
    parts = [_write_part(part) for part in message.parts]
    inner: dict[str, Any] = {"parts": parts, "keyboard": message.keyboard, "reply_to": message.reply_to}
    if message.link_preview is not None:
        inner["link_preview"] = message.link_preview
    event = {} if posted is None else {"event": orjson.Fragment(posted)}
    return orjson.dumps({"said": inner, **event}).decode()


def posted_event(body: str, origin: str) -> Any:
    """The event as a client posted it; of a bot message without a client's event, its stored form.

    Earlier versions accepted integers of any size: one of more than 64 bits is its digits as a text.

    Args:
        body: of the event; one that is no JSON is returned as a text.
        origin: of the event, as it is stored.
    """
    read = _json(body)
    return read.get("event", read) if origin in _OWN and isinstance(read, dict) else read


def _json(body: str) -> Any:
    read = json_of(body)
    if read is None:
        read = json_of(body, _with_long_numbers)
    return str(body) if read is None else read


def _with_long_numbers(body: str) -> Any:
    return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < _DIGITS else digits)


def _write_part(part: Text | Document) -> dict[str, Any]:
    if isinstance(part, Document):
        return {"file": part.filename, "content": part.content.decode(), **_write_part(part.caption)}
    return {"text": part.text, "entities": [dict(entity) for entity in part.entities]}


def is_bot_message(message: Claimed) -> bool:
    """Whether the bridge itself created the message's event, or rendered it as a question."""
    return message.origin in _OWN


def read_body(body: str) -> Rendered:
    """What to send, from the result of :func:`event_body`."""
    inner = orjson.loads(body)["said"]
    parts = tuple(_read_part(part) for part in inner["parts"])
    options = SendOptions(link_preview=inner.get("link_preview"))
    return Rendered(parts, inner["keyboard"], inner["reply_to"], options)


def _read_part(part: Mapping[str, Any]) -> Text | Document:
    text = Text(part["text"], tuple(part["entities"]))
    return Document(part["file"], part["content"].encode(), text) if "file" in part else text


def renderer(render_event: Callable[[Claimed], Rendered]) -> Callable[[Claimed], Rendered]:
    """The engine's renderer: reads bot messages as stored; events of clients by ``render_event``."""

    def render(message: Claimed) -> Rendered:
        if not is_bot_message(message):
            return render_event(message)
        # A question is edited when it is decided: its text must be a message of its own.
        return with_files(read_body(message.body), message.files, captions=False)

    return render


def passes_mute(message: Claimed) -> bool:
    """Whether a muted chat gets the message: critical events, questions, and bot messages but digests."""
    return (
        message.severity == Severity.CRITICAL.value
        or message.event_type == "approval_request"
        or (is_bot_message(message) and message.origin is not Origin.DIGEST)
    )
