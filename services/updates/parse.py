"""Parses an update of the Bot API into a value, with ids and texts within their bounds. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.outbox.telegram import values
from services.updates import attachments
from services.updates.attachments import Attachment

#: Kinds of updates that are requested from Telegram, also labels of a metric; the rest are other.
KINDS = ("message", "callback_query", "my_chat_member")
OTHER = "other"
#: How long Telegram stores a tap that no bot fetches (telegram.md 0.4).
TAP_LIFE_SECONDS = 150.0
#: People choose their names, so longer ones are cut.
LONGEST_NAME = 100
#: Texts have at most 4,096 characters, data of buttons 64 bytes, ids of taps 20 digits; a longer one is cut.
LONGEST_TEXT = 32_768
LONGEST_DATA = 1_024
LONGEST_QUERY_ID = 64
#: Content of messages that people can send and no program can use, by the name of its field. A venue
#: has a location too, so it stands first. Messages that tell of a change of the chat are no content.
NOT_TAKEN = {
    "venue": "places",
    "location": "locations",
    "contact": "contacts",
    "poll": "polls",
    "checklist": "checklists",
    "dice": "dice",
    "game": "games",
    "story": "stories",
    "paid_media": "paid media",
}
_CAN_WRITE = frozenset({"member", "administrator", "creator"})
_CANNOT_WRITE = frozenset({"kicked", "left"})


@dataclass(frozen=True, slots=True)
class Sender:
    """A person: Telegram id, shown name, and username without the @."""

    id: int
    name: str
    username: str | None


@dataclass(frozen=True, slots=True)
class Tap:
    """A tap on a button; chat and message are None if Telegram no longer has the message."""

    query_id: str
    sender: Sender
    data: str
    chat_id: int | None
    message_id: int | None


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A text, or a file with its caption, that a person sent."""

    sender: Sender
    chat_id: int
    private: bool
    thread_id: int | None
    message_id: int
    text: str  #: of a file its caption, or empty
    reply_to: int | None  #: Telegram's id of the message that it replies to
    reply_to_button: str = ""  #: data of the first button of that message
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A message of a person whose content no program can use; ``what`` names it, such as ``polls``."""

    message: TextMessage
    what: str


@dataclass(frozen=True, slots=True)
class Membership:
    """The bot was allowed to write to a chat, or was blocked or removed."""

    chat_id: int
    private: bool
    may_write: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """An update that nothing follows from."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An update with a field that is missing, of the wrong type, or out of bounds; ``why`` says which."""

    why: str


ParsedUpdate = Tap | TextMessage | NotTaken | Membership | Ignored | Unreadable


def act_of(parsed: ParsedUpdate) -> Tap | TextMessage | None:
    """What a person did; None if the update is of something else."""
    if isinstance(parsed, NotTaken):
        return parsed.message
    return parsed if isinstance(parsed, Tap | TextMessage) else None


def kind_of(update: Mapping[str, Any]) -> str:
    """One of KINDS, or OTHER."""
    return next((kind for kind in KINDS if kind in update), OTHER)


def parse_update(update: Mapping[str, Any]) -> ParsedUpdate:
    """The update as a value."""
    try:
        return _PARSERS[kind_of(update)](update)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return Unreadable(f"{type(error).__name__}: {error}")


def _tap(update: Mapping[str, Any]) -> ParsedUpdate:
    query = update["callback_query"]
    message = query.get("message") or {}
    chat = message.get("chat") or {}
    return Tap(
        values.text(query["id"], LONGEST_QUERY_ID),
        _sender(query["from"]),
        values.text(query.get("data", ""), LONGEST_DATA),
        _if_given(values.chat_id, chat.get("id")),
        _if_given(values.positive_id, message.get("message_id")),
    )


def _message(update: Mapping[str, Any]) -> ParsedUpdate:
    message = update["message"]
    # Posts of channels have no sender.
    sender = message.get("from")
    if sender is None or sender.get("is_bot"):
        return Ignored()
    not_taken = next((name for name in NOT_TAKEN if name in message), None)
    attachment = attachments.of_message(message)
    if "text" not in message and attachment is None and not_taken is None:
        return Ignored()
    reply = message.get("reply_to_message") or {}
    parsed = TextMessage(
        sender=_sender(sender),
        chat_id=values.chat_id(message["chat"]["id"]),
        private=message["chat"]["type"] == "private",
        thread_id=values.positive_id(message["message_thread_id"])
        if message.get("is_topic_message")
        else None,
        message_id=values.positive_id(message["message_id"]),
        text=values.text(message["text"] if "text" in message else message.get("caption", ""), LONGEST_TEXT),
        reply_to=_if_given(values.positive_id, reply.get("message_id")),
        reply_to_button=_first_button(reply),
        attachment=attachment,
    )
    return parsed if not_taken is None else NotTaken(parsed, NOT_TAKEN[not_taken])


def _first_button(message: Mapping[str, Any]) -> str:
    rows = (message.get("reply_markup") or {}).get("inline_keyboard") or []
    return values.text(rows[0][0].get("callback_data", ""), LONGEST_DATA) if rows and rows[0] else ""


def _membership(update: Mapping[str, Any]) -> ParsedUpdate:
    change = update["my_chat_member"]
    member = change["new_chat_member"]
    status = member["status"]
    if status == "restricted":
        may_write = bool(member.get("can_send_messages"))
    elif status in _CAN_WRITE or status in _CANNOT_WRITE:
        may_write = status in _CAN_WRITE
    else:
        return Ignored()
    return Membership(values.chat_id(change["chat"]["id"]), change["chat"]["type"] == "private", may_write)


def _ignored(_: Mapping[str, Any]) -> ParsedUpdate:
    return Ignored()


_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], ParsedUpdate]] = {
    "callback_query": _tap,
    "message": _message,
    "my_chat_member": _membership,
    OTHER: _ignored,
}


def _sender(user: Mapping[str, Any]) -> Sender:
    user_id = values.positive_id(user["id"])
    username = values.text(user["username"], LONGEST_NAME) if user.get("username") else None
    parts = (user[part] for part in ("first_name", "last_name") if user.get(part))
    names = " ".join(values.text(part, LONGEST_NAME) for part in parts)
    shown = f"{names} (@{username})" if username and names else names or f"@{username}" if username else names
    return Sender(user_id, (shown or str(user_id))[:LONGEST_NAME], username)


def _if_given(read: Callable[[Any], int], value: Any) -> int | None:
    """Reads a value that may be missing."""
    return None if value is None else read(value)
