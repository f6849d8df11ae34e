"""Actions of people: write, tap, block, leave. Bots get an update of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import uuid_utils

from services.telegram_sandbox import markup
from services.telegram_sandbox.state import media
from services.telegram_sandbox.state.bots import Bot
from services.telegram_sandbox.state.chats import Chat, ChatType, Message
from services.telegram_sandbox.state.sandbox import Sandbox, Tap
from services.telegram_sandbox.state.update_queue import TAP_LIFETIME

DEFAULT_PERSON = 1001


class NotPossibleError(Exception):
    """A person cannot do this: the chat, message or button does not exist or does not allow it."""


def chat_of(sandbox: Sandbox, chat_id: int) -> Chat:
    chat = sandbox.chats.get(chat_id)
    if chat is None:
        raise NotPossibleError(f"there is no chat {chat_id}")
    return chat


def person_in(sandbox: Sandbox, chat: Chat, person_id: int | None) -> dict[str, Any]:
    """Returns the acting user: the person of a private chat, in others the given one (default: Ada)."""
    if chat.type is ChatType.PRIVATE:
        return chat.user()
    own = sandbox.chats.get(person_id or DEFAULT_PERSON)
    if own is None or own.type is not ChatType.PRIVATE:
        raise NotPossibleError(f"there is no person {person_id or DEFAULT_PERSON}")
    return own.user()


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of a person.

    Args:
        kind: one of :data:`services.telegram_sandbox.state.media.KINDS`.
        data: the content.
        name: of the file.
        mime: media type.
    """

    kind: str
    data: bytes
    name: str
    mime: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What a person sends: a text, a file with the text as its caption, or other content of a message.

    Args:
        text: empty: none.
        file: None: none.
        other: content by the name of its field, such as ``location``.
    """

    text: str = ""
    file: NewFile | None = None
    other: Mapping[str, Any] = field(default_factory=dict)


def say(
    sandbox: Sandbox,
    chat_id: int,
    sent: Sent,
    *,
    person_id: int | None = None,
    thread_id: int | None = None,
    reply_to: int | None = None,
) -> dict[str, Any]:
    """Writes as a person. Writing to a bot starts it, and ends a block.

    Raises:
        NotPossibleError: there is no such chat, person, topic or message, or nothing is sent.
    """
    chat = chat_of(sandbox, chat_id)
    person = person_in(sandbox, chat, person_id)
    cleaned = markup.clean(markup.Formatted(sent.text))
    is_empty = markup.is_empty(cleaned.text)
    if is_empty and sent.file is None and not sent.other:
        raise NotPossibleError("a message needs a text, a file or other content")
    now = sandbox.clock.now()
    wire: dict[str, Any] = {
        "message_id": sandbox.chats.next_message_id(chat, now),
        ("sender_chat" if chat.type is ChatType.CHANNEL else "from"): (
            chat.wire() if chat.type is ChatType.CHANNEL else person
        ),
        "chat": chat.wire(),
        "date": int(now),
        **_context(chat, thread_id, reply_to),
        **sent.other,
    }
    name, entities = ("caption", "caption_entities") if sent.file else ("text", "entities")
    if not is_empty:
        wire[name] = cleaned.text
    if cleaned.entities:
        wire[entities] = cleaned.wire()
    return _deliver(sandbox, chat, wire, int(person["id"]), sent.file)


def _file_of(sandbox: Sandbox, bot: Bot, file: NewFile | None) -> dict[str, Any]:
    """The message's fields of a file as a bot gets them: each bot has its own id of it."""
    if file is None:
        return {}
    name, mime = media.stored_as(file.kind, file.name, file.mime)
    stored = sandbox.files.add(bot.id, name, mime, file.data)
    return media.fields(file.kind, stored, media.pixels(file.data))


def _context(chat: Chat, thread_id: int | None, reply_to: int | None) -> dict[str, Any]:
    """Returns the message's fields for its topic and reply."""
    context: dict[str, Any] = {}
    if thread_id is not None:
        if thread_id not in chat.topics:
            raise NotPossibleError(f"chat {chat.id} has no topic {thread_id}")
        context |= {"message_thread_id": thread_id, "is_topic_message": True}
    if reply_to is not None:
        original = chat.messages.get(reply_to)
        if original is None:
            raise NotPossibleError(f"chat {chat.id} has no message {reply_to}")
        context["reply_to_message"] = {k: v for k, v in original.wire.items() if k != "reply_to_message"}
    return context


def _deliver(
    sandbox: Sandbox, chat: Chat, wire: dict[str, Any], person_id: int, file: NewFile | None
) -> dict[str, Any]:
    if chat.type is ChatType.PRIVATE and (chat.blocked or not chat.started):
        set_blocked(sandbox, chat, blocked=False)
    kind = "channel_post" if chat.type is ChatType.CHANNEL else "message"
    got = [(bot, wire | _file_of(sandbox, bot, file)) for bot in sandbox.bots]
    shown = got[0][1] if got else wire
    sandbox.record(
        "said",
        chat_id=chat.id,
        message_id=wire["message_id"],
        person_id=person_id,
        text=wire.get("text", wire.get("caption")),
        message=shown,
    )
    sandbox.chats.store(chat, Message(shown, None))
    for bot, its in got:
        sandbox.push(bot, kind, its, lane=chat.id)
    return shown


def tap(
    sandbox: Sandbox,
    chat_id: int,
    message_id: int,
    *,
    data: str | None,
    label: str | None,
    person_id: int | None,
) -> str:
    """Taps an inline button as a person, by its data or its text; returns the id of the callback query.

    Raises:
        NotPossibleError: there is no such chat, person, message or button.
    """
    chat = chat_of(sandbox, chat_id)
    person = person_in(sandbox, chat, person_id)
    message = chat.messages.get(message_id)
    if message is None:
        raise NotPossibleError(f"chat {chat_id} has no message {message_id}")
    button = _button(message.wire, data, label)
    now = sandbox.clock.now()
    bot = sandbox.bots.by_id(message.bot_id or 0)
    if bot is None:
        raise NotPossibleError("no bot of this sandbox sent the message")
    _delete_expired_taps(sandbox, now)
    query_id = str(uuid_utils.uuid7().int % 10**18)
    sandbox.taps[query_id] = Tap(bot.id, chat.id, message_id, now + TAP_LIFETIME)
    message.toast = None
    sandbox.record(
        "tapped",
        chat_id=chat.id,
        message_id=message_id,
        person_id=person["id"],
        data=button,
        query_id=query_id,
    )
    payload = {
        "id": query_id,
        "from": person,
        "message": message.wire,
        "chat_instance": str(chat.id),
        "data": button,
    }
    sandbox.push(bot, "callback_query", payload, lane=int(person["id"]))
    return query_id


def _button(wire: dict[str, Any], data: str | None, label: str | None) -> str:
    rows = wire.get("reply_markup", {}).get("inline_keyboard", [])
    for button in (button for row in rows for button in row):
        matches = button.get("callback_data") == data if data is not None else button["text"] == label
        if matches and "callback_data" in button:
            return str(button["callback_data"])
    raise NotPossibleError("the message has no such button")


def _delete_expired_taps(sandbox: Sandbox, now: float) -> None:
    for query_id in [number for number, tap in sandbox.taps.items() if tap.expires <= now]:
        del sandbox.taps[query_id]


def set_blocked(sandbox: Sandbox, chat: Chat, *, blocked: bool) -> None:
    """Blocks the bot as a person, or starts it (again)."""
    if chat.type is not ChatType.PRIVATE:
        raise NotPossibleError("only a person can block a bot")
    before = "kicked" if chat.blocked or not chat.started else "member"
    chat.blocked, chat.started = blocked, True
    sandbox.chat_changed(chat, "blocked" if blocked else "unblocked")
    _my_chat_member(sandbox, chat, before, "kicked" if blocked else "member")


def set_member(sandbox: Sandbox, chat: Chat, *, member: bool, kicked: bool = False) -> None:
    """Adds the bot to a group or channel, removes it, or kicks it."""
    if chat.type is ChatType.PRIVATE:
        raise NotPossibleError("a private chat has no members to change")
    before = _status(chat)
    chat.member, chat.kicked = member, kicked
    sandbox.chat_changed(chat, "kicked" if kicked else "joined" if member else "left")
    _my_chat_member(sandbox, chat, before, _status(chat))


def deactivate(sandbox: Sandbox, chat: Chat) -> None:
    """Deletes a person's account; no update is sent, and sending fails from now on."""
    if chat.type is not ChatType.PRIVATE:
        raise NotPossibleError("only a person can be deactivated")
    chat.deactivated = True
    sandbox.chat_changed(chat, "deactivated")


def delete(sandbox: Sandbox, chat: Chat) -> None:
    """Deletes a group."""
    if chat.type is ChatType.PRIVATE:
        raise NotPossibleError("a private chat cannot be deleted")
    chat.deleted = True
    sandbox.chat_changed(chat, "deleted")


def restrict(sandbox: Sandbox, chat: Chat, *, can_send: bool) -> None:
    """Takes or returns the bot's right to write in a group or channel."""
    if chat.type is ChatType.PRIVATE:
        raise NotPossibleError("a private chat has no rights to change")
    chat.can_send = can_send
    sandbox.chat_changed(chat, "allowed" if can_send else "restricted")


def restrict_pins(sandbox: Sandbox, chat: Chat, *, can_pin: bool) -> None:
    """Takes or returns the bot's right to pin messages in a group or channel."""
    if chat.type is ChatType.PRIVATE:
        raise NotPossibleError("a private chat has no rights to change")
    chat.can_pin = can_pin
    sandbox.chat_changed(chat, "pins allowed" if can_pin else "pins forbidden")


def upgrade(sandbox: Sandbox, chat: Chat, new_id: int) -> Chat:
    """Turns a group into a supergroup with a new id; both chats get a service message."""
    if chat.type is not ChatType.GROUP or chat.migrated_to is not None:
        raise NotPossibleError("only a group that is not upgraded yet can become a supergroup")
    if sandbox.chats.get(new_id) is not None:
        raise NotPossibleError(f"there is a chat {new_id} already")
    fresh = replace(chat, id=new_id, type=ChatType.SUPERGROUP, messages={}, unsent=0)
    chat.migrated_to = new_id
    sandbox.chat_changed(chat, "upgraded")
    sandbox.add_chat(fresh)
    _service(sandbox, chat, {"migrate_to_chat_id": new_id})
    _service(sandbox, fresh, {"migrate_from_chat_id": chat.id})
    return fresh


def _service(sandbox: Sandbox, chat: Chat, content: dict[str, Any]) -> None:
    now = sandbox.clock.now()
    number = sandbox.chats.next_message_id(chat, now)
    wire = {"message_id": number, "chat": chat.wire(), "date": int(now), **content}
    sandbox.record("said", chat_id=chat.id, message_id=number, person_id=None, text=None, message=wire)
    sandbox.chats.store(chat, Message(wire, None))
    sandbox.push_all("message", wire, lane=chat.id)


def _status(chat: Chat) -> str:
    if chat.kicked:
        return "kicked"
    if not chat.member:
        return "left"
    return "administrator" if chat.type is ChatType.CHANNEL else "member"


def _my_chat_member(sandbox: Sandbox, chat: Chat, before: str, after: str) -> None:
    now = sandbox.clock.now()
    actor = person_in(sandbox, chat, None)
    for bot in sandbox.bots:
        payload = {
            "chat": chat.wire(),
            "from": actor,
            "date": int(now),
            "old_chat_member": _member(bot.user(), before),
            "new_chat_member": _member(bot.user(), after),
        }
        sandbox.push(bot, "my_chat_member", payload, lane=chat.id)


def _member(user: dict[str, Any], status: str) -> dict[str, Any]:
    member: dict[str, Any] = {"user": user, "status": status}
    if status == "kicked":
        member["until_date"] = 0
    if status == "administrator":
        rights = ("be_edited", "manage_chat", "delete_messages", "manage_video_chats", "restrict_members")
        more = (
            "promote_members",
            "change_info",
            "invite_users",
            "post_stories",
            "edit_stories",
            "delete_stories",
        )
        member |= {f"can_{right}": right == "manage_chat" for right in (*rights, *more)}
        member |= {"is_anonymous": False, "can_post_messages": True}
    return member
