"""Restores the state from the event log after a restart, and rotates a log that is too large.

Chats, messages, documents, pending updates and webhooks survive a restart. Taps without an answer, faults,
changed limits and the advanced time do not.
"""

from pathlib import Path
from typing import Any

from services.telegram_sandbox.state import chats, media
from services.telegram_sandbox.state.bots import Webhook
from services.telegram_sandbox.state.chats import Chat, ChatType, Message
from services.telegram_sandbox.state.sandbox import CHAT_STATE, Sandbox
from services.telegram_sandbox.state.update_queue import Update

INITIAL_CHATS = (
    Chat(1001, ChatType.PRIVATE, "Ada", username="ada"),
    Chat(1002, ChatType.PRIVATE, "Grace", username="grace"),
    Chat(-2001, ChatType.GROUP, "Team"),
    Chat(-1001000000001, ChatType.SUPERGROUP, "Operations", topics={1: "General", 7: "CI"}),
)


def load(sandbox: Sandbox, max_bytes: int) -> None:
    """Restores the state, opens the log for appending, and adds the initial chats if they are missing.

    Raises:
        OSError: the log cannot be read or written.
    """
    event_log = sandbox.event_log
    for entry in event_log.replay():
        restore(sandbox, entry)
    large = (
        event_log.path is not None and event_log.path.exists() and event_log.path.stat().st_size > max_bytes
    )
    if large and event_log.path is not None:
        rotate(event_log.path)
    event_log.open()
    if large:
        _write_state(sandbox)
    _add_initial_chats(sandbox)


def reset(sandbox: Sandbox) -> None:
    """Resets to the state of a first start; the log continues, and ids are not reused."""
    sandbox.faults.clear()
    sandbox.flood.change(sandbox.initial_limits)
    sandbox.taps.clear()
    for bot in sandbox.bots:
        bot.revoked = bot.frozen = False
        bot.queue.allow(frozenset())
        sandbox.confirm(bot, bot.queue.next_id)
        sandbox.set_webhook(bot, None)
    sandbox.chats.clear()
    sandbox.record("reset")
    _add_initial_chats(sandbox)


def _add_initial_chats(sandbox: Sandbox) -> None:
    for chat in INITIAL_CHATS:
        if sandbox.chats.get(chat.id) is None:
            sandbox.add_chat(Chat(chat.id, chat.type, chat.title, chat.username, dict(chat.topics)))


def rotate(path: Path) -> None:
    """Renames the log to <name>.1."""
    path.rename(path.with_name(path.name + ".1"))


def restore(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    """Applies one log entry of an earlier run to the state."""
    match entry["kind"]:
        case "chat":
            _chat(sandbox, entry["chat"])
        case "call" | "said" | "kept" if entry.get("message"):
            _message(sandbox, entry)
        case "call" if entry.get("deleted"):
            if (chat := sandbox.chats.get(entry["chat_id"])) is not None:
                chat.messages.pop(entry["message_id"], None)
        case "reset":
            sandbox.chats.clear()
        case "toast" | "call":
            _annotate(sandbox, entry)
        case "update" | "confirmed" | "posted" | "webhook":
            _queue(sandbox, entry)
        case "billed":
            _bill(sandbox, entry, entry["dates"])


def _bill(sandbox: Sandbox, entry: dict[str, Any], dates: list[int]) -> None:
    if (bot := sandbox.bots.by_id(entry["bot"])) is not None:
        bot.billed.extend(dates)


def _annotate(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    """Restores a message's toast, reaction or pin."""
    chat = sandbox.chats.get(entry["chat_id"])
    message = None if chat is None else chat.messages.get(entry["message_id"])
    if message is None:
        return
    if entry["kind"] == "toast":
        message.toast = entry["text"]
    elif "reaction" in entry:
        message.reaction = chats.emoji_of(entry["reaction"])
    elif entry.get("pinned"):
        message.pinned = True


def _write_state(sandbox: Sandbox) -> None:
    """Writes the whole state into the new log."""
    for chat in sandbox.chats:
        sandbox.chat_changed(chat, "kept")
        for message in chat.messages.values():
            sandbox.record(
                "kept",
                bot=message.bot_id,
                chat_id=chat.id,
                message_id=message.id,
                silent=message.silent,
                pinned=message.pinned,
                message=message.wire,
            )
    for bot in sandbox.bots:
        sandbox.set_webhook(bot, bot.webhook)
        sandbox.record("billed", bot=bot.id, dates=bot.billed)
        for update in bot.queue.pending.values():
            sandbox.record(
                "update", bot=bot.id, update=update.wire(), expires=update.expires, lane=update.lane
            )


def _chat(sandbox: Sandbox, state: dict[str, Any]) -> None:
    known = {name: state[name] for name in CHAT_STATE if name in state}
    known["type"] = ChatType(known["type"])
    known["topics"] = {int(number): name for number, name in known["topics"].items()}
    known["closed_topics"] = set(known["closed_topics"])
    chat = Chat(**known)
    old = sandbox.chats.get(chat.id)
    if old is not None:
        chat.messages = old.messages
    sandbox.chats.add(chat)


def _message(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    if entry.get("charged"):
        _bill(sandbox, entry, [int(entry["time"])])
    chat = sandbox.chats.get(entry["chat_id"])
    if chat is None:
        return
    old = chat.messages.get(entry["message_id"])
    silent = old.silent if old is not None else bool(entry.get("silent"))
    pinned = old.pinned if old is not None else bool(entry.get("pinned"))
    sandbox.chats.store(chat, Message(entry["message"], entry.get("bot"), silent, pinned=pinned))
    _restore_file(sandbox, entry["message"])


def _restore_file(sandbox: Sandbox, message: dict[str, Any]) -> None:
    found = media.file_of(message)
    if found is not None:
        sandbox.files.restore(media.stored_file(*found))


def _queue(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    bot = sandbox.bots.by_id(entry["bot"])
    if bot is None:
        return
    match entry["kind"]:
        case "update":
            fields = dict(entry["update"])
            number = fields.pop("update_id")
            ((kind, payload),) = fields.items()
            # A person's file has another id for each bot.
            _restore_file(sandbox, payload)
            bot.queue.restore(Update(number, kind, payload, entry["expires"], entry["lane"]))
        case "confirmed":
            bot.queue.confirm(entry["offset"])
        case "posted":
            bot.queue.pending.pop(entry["update_id"], None)
        case _:
            bot.webhook = Webhook(**entry["webhook"]) if entry["webhook"] else None
