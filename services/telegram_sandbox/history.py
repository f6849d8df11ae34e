"""The state after a restart: the log of earlier runs read back, put aside when it has grown too large.

Chats, messages, documents, pending updates and webhooks survive; taps that wait for an answer, faults, limits
and an advanced clock do not.
"""

from pathlib import Path
from typing import Any

from services.telegram_sandbox import chats
from services.telegram_sandbox.bots import Webhook
from services.telegram_sandbox.chats import Chat, ChatType, Message
from services.telegram_sandbox.files import StoredFile
from services.telegram_sandbox.sandbox import CHAT_STATE, Sandbox
from services.telegram_sandbox.updates import Update

FIRST_CHATS = (
    Chat(1001, ChatType.PRIVATE, "Ada", username="ada"),
    Chat(1002, ChatType.PRIVATE, "Grace", username="grace"),
    Chat(-2001, ChatType.GROUP, "Team"),
    Chat(-1001000000001, ChatType.SUPERGROUP, "Operations", topics={1: "General", 7: "CI"}),
)


def load(sandbox: Sandbox, max_bytes: int) -> None:
    """Read the log back, open it for more, and make sure that the first chats are there.

    Raises:
        OSError: the log cannot be read or written.
    """
    journal = sandbox.journal
    for entry in journal.replay():
        restore(sandbox, entry)
    large = journal.path is not None and journal.path.exists() and journal.path.stat().st_size > max_bytes
    if large and journal.path is not None:
        put_aside(journal.path)
    journal.open()
    if large:
        _keep(sandbox)
    _add_first_chats(sandbox)


def reset(sandbox: Sandbox) -> None:
    """Back to the state of a first start; the log goes on, ids are not used again."""
    sandbox.faults.clear()
    sandbox.flood.change(sandbox.first_limits)
    sandbox.taps.clear()
    for bot in sandbox.bots:
        bot.revoked = bot.frozen = False
        bot.queue.allow(frozenset())
        sandbox.confirm(bot, bot.queue.next_id)
        sandbox.set_webhook(bot, None)
    sandbox.chats.clear()
    sandbox.record("reset")
    _add_first_chats(sandbox)


def _add_first_chats(sandbox: Sandbox) -> None:
    for chat in FIRST_CHATS:
        if sandbox.chats.get(chat.id) is None:
            sandbox.add_chat(Chat(chat.id, chat.type, chat.title, chat.username, dict(chat.topics)))


def put_aside(path: Path) -> None:
    """Keep the old log beside the new one, as <name>.1."""
    path.rename(path.with_name(path.name + ".1"))


def restore(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    """Take one entry of an earlier run's log back into the state."""
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
            _mark(sandbox, entry)
        case "update" | "confirmed" | "posted" | "webhook":
            _queue(sandbox, entry)
        case "billed":
            _bill(sandbox, entry, entry["dates"])


def _bill(sandbox: Sandbox, entry: dict[str, Any], dates: list[int]) -> None:
    if (bot := sandbox.bots.by_id(entry["bot"])) is not None:
        bot.billed.extend(dates)


def _mark(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    """What is shown at a message and is no part of it."""
    chat = sandbox.chats.get(entry["chat_id"])
    message = None if chat is None else chat.messages.get(entry["message_id"])
    if message is None:
        return
    if entry["kind"] == "toast":
        message.toast = entry["text"]
    elif "reaction" in entry:
        message.reaction = chats.emoji_of(entry["reaction"])


def _keep(sandbox: Sandbox) -> None:
    """Write the whole state into the new log."""
    for chat in sandbox.chats:
        sandbox.chat_changed(chat, "kept")
        for message in chat.messages.values():
            sandbox.record(
                "kept",
                bot=message.bot_id,
                chat_id=chat.id,
                message_id=message.id,
                silent=message.silent,
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
    sandbox.chats.keep(chat, Message(entry["message"], entry.get("bot"), silent))
    document = entry["message"].get("document")
    if document is not None:
        bot_id = int(document["file_id"].split("-")[1])
        sandbox.files.restore(
            StoredFile(
                document["file_id"],
                bot_id,
                document["file_name"],
                document["mime_type"],
                document["file_size"],
            )
        )


def _queue(sandbox: Sandbox, entry: dict[str, Any]) -> None:
    bot = sandbox.bots.by_id(entry["bot"])
    if bot is None:
        return
    match entry["kind"]:
        case "update":
            fields = dict(entry["update"])
            number = fields.pop("update_id")
            ((kind, payload),) = fields.items()
            bot.queue.restore(Update(number, kind, payload, entry["expires"], entry["lane"]))
        case "confirmed":
            bot.queue.confirm(entry["offset"])
        case "posted":
            bot.queue.pending.pop(entry["update_id"], None)
        case _:
            bot.webhook = Webhook(**entry["webhook"]) if entry["webhook"] else None
