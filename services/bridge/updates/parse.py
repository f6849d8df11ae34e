"""An update of the Bot API as a value. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: What is asked for, and the labels of the metric; anything else counts as other.
KINDS = ("message", "callback_query", "my_chat_member")
OTHER = "other"
#: Longer names are cut where they are shown: a person chooses them.
LONGEST_NAME = 100
_CAN_WRITE = frozenset({"member", "administrator", "creator"})
_CANNOT_WRITE = frozenset({"kicked", "left"})


@dataclass(frozen=True, slots=True)
class Sender:
    """A person, as Telegram names them."""

    id: int
    name: str
    username: str | None


@dataclass(frozen=True, slots=True)
class Tap:
    """A button was tapped."""

    query_id: str
    sender: Sender
    data: str
    chat_id: int | None
    message_id: int | None


@dataclass(frozen=True, slots=True)
class Said:
    """A text was written."""

    sender: Sender
    chat_id: int
    private: bool
    thread_id: int | None
    message_id: int
    text: str
    reply_to: int | None
    reply_to_button: str = ""  #: data of the first button of the message that it answers


@dataclass(frozen=True, slots=True)
class Membership:
    """The bot may write to a chat, or may not any more."""

    chat_id: int
    private: bool
    may_write: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing that this bridge acts on."""


Incoming = Tap | Said | Membership | Ignored


def kind_of(update: Mapping[str, Any]) -> str:
    return next((kind for kind in KINDS if kind in update), OTHER)


def read(update: Mapping[str, Any]) -> Incoming:
    """The update as a value; what is missing fields that Telegram always sends is ignored."""
    try:
        return _READERS[kind_of(update)](update)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Ignored()


def _tap(update: Mapping[str, Any]) -> Incoming:
    query = update["callback_query"]
    message = query.get("message") or {}
    chat = message.get("chat") or {}
    return Tap(
        str(query["id"]),
        _sender(query["from"]),
        _text(query.get("data", "")),
        chat.get("id"),
        message.get("message_id"),
    )


def _said(update: Mapping[str, Any]) -> Incoming:
    message = update["message"]
    sender = message["from"]
    if "text" not in message or sender.get("is_bot"):
        return Ignored()
    reply = message.get("reply_to_message") or {}
    return Said(
        sender=_sender(sender),
        chat_id=int(message["chat"]["id"]),
        private=message["chat"]["type"] == "private",
        thread_id=message.get("message_thread_id") if message.get("is_topic_message") else None,
        message_id=int(message["message_id"]),
        text=_text(message["text"]),
        reply_to=reply.get("message_id"),
        reply_to_button=_first_button(reply),
    )


def _first_button(message: Mapping[str, Any]) -> str:
    rows = (message.get("reply_markup") or {}).get("inline_keyboard") or []
    return _text(rows[0][0].get("callback_data", "")) if rows and rows[0] else ""


def _membership(update: Mapping[str, Any]) -> Incoming:
    change = update["my_chat_member"]
    member = change["new_chat_member"]
    status = member["status"]
    if status == "restricted":
        may_write = bool(member.get("can_send_messages"))
    elif status in _CAN_WRITE or status in _CANNOT_WRITE:
        may_write = status in _CAN_WRITE
    else:
        return Ignored()
    return Membership(int(change["chat"]["id"]), change["chat"]["type"] == "private", may_write)


def _ignored(_: Mapping[str, Any]) -> Incoming:
    return Ignored()


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Incoming]] = {
    "callback_query": _tap,
    "message": _said,
    "my_chat_member": _membership,
    OTHER: _ignored,
}


def _sender(user: Mapping[str, Any]) -> Sender:
    username = _text(user["username"]) if user.get("username") else None
    names = " ".join(_text(user[part]) for part in ("first_name", "last_name") if user.get(part))
    shown = f"{names} (@{username})" if username and names else names or f"@{username}" if username else names
    return Sender(int(user["id"]), (shown or str(user["id"]))[:LONGEST_NAME], username)


def _text(given: object) -> str:
    """Without NUL, which PostgreSQL keeps in no text: a client of somebody's own may tap with any data."""
    return str(given).replace("\0", "\N{REPLACEMENT CHARACTER}")
