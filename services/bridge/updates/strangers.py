"""Strangers: people who may not use the bot get a notice with what the operator needs to let them in."""

from services.bridge import bots
from services.bridge.updates import reply_messages
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.responses import ResponseLink
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder
from services.updates.parse import TextMessage


def refuse(
    context: UpdateContext, message: TextMessage, link: ResponseLink, *, is_command: bool = False
) -> Reaction:
    """Replies with the ids that the operator needs, at most once an hour; in a group only to a command."""
    notify = context.may_notify_stranger and (message.private or is_command)
    notice = _notice(context, message)
    return Reaction(
        ReactionKind.STRANGER,
        link,
        replies=(reply_messages.reply(context, message, notice, link),) if notify else (),
        unauthorised=True,
        notified_stranger=message.sender.id if notify else None,
    )


def _notice(context: UpdateContext, message: TextMessage) -> Text:
    """What the person tells the operator, who adds the ids to the settings of this bot."""
    user_id, chat_id, bot = message.sender.id, message.chat_id, context.bot
    chats, people = "TELEGRAM_CHAT_IDS", "TELEGRAM_ALLOWED_USERS"
    if bot != bots.DEFAULT:
        chats, people = f"chat_ids of {bot} in TELEGRAM_BOTS", f"allowed_users of {bot}"
    out = Builder().text("You are not authorised to talk to this bot. Your user id is ")
    out.code(str(user_id)).text(", the id of this chat is ").code(str(chat_id))
    out.text(".\n\nTo get messages here, ask the operator of the bot to add the chat to ").code(chats)
    out.text("; to answer questions and use commands, to add you to ").code(people)
    out.text(".")
    if context.first_chat_code is not None:
        out.text("\n\nAre you the operator? The log of the bridge shows a command that chooses this chat.")
    return out.build()
