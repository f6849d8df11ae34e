"""Other messages: a file without words at a question, and content that no program can use."""

from sqlalchemy import Connection

from services.bridge.approvals.approval import Approval, ApprovalState
from services.bridge.updates import reply_messages, strangers
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.reply_links import replied_to
from services.bridge.updates.responses import NO_LINK, ResponseKind, ResponseLink
from services.outbox.telegram.text import Builder
from services.updates.parse import TextMessage

_TAKES = (
    "I take texts, photos, documents, audio, voice messages, videos, animations, video notes and stickers."
    " /help lists the commands."
)


def lacks_words(message: TextMessage, approval: Approval) -> bool:
    """Whether it is a file without a caption, which answers no open question."""
    is_open = approval.state is ApprovalState.OPEN
    return message.attachment is not None and not message.text.strip() and is_open


def ask_for_words(
    context: UpdateContext, message: TextMessage, approval: Approval, link: ResponseLink
) -> Reaction:
    """Stores the file with the question that it belongs to, and asks for an answer in words.

    A person who may not use the bot is refused; one who may not decide leaves a file all the same.
    """
    if not context.allows(message.sender):
        return strangers.refuse(context, message, link)
    or_tap = " or tap a button" if approval.options else ""
    text = f"The file is kept, and answers nothing by itself. Please answer in words{or_tap}."
    return Reaction(
        ReactionKind.REPLY,
        link,
        replies=(reply_messages.reply(context, message, Builder().text(text).build(), link),),
        response=reply_messages.response(context, message, ResponseKind.REPLY, link),
    )


def react(connection: Connection, context: UpdateContext, message: TextMessage, what: str) -> Reaction:
    """Says what the bot takes instead; in a group only if the message replies to one of the bot's."""
    link, _ = replied_to(connection, context, message)
    if not message.private and link is NO_LINK:
        return Reaction()
    if not context.allows(message.sender):
        return strangers.refuse(context, message, link)
    text = Builder().text(f"I cannot take {what}. {_TAKES}").build()
    return Reaction(
        ReactionKind.NOT_TAKEN, link, replies=(reply_messages.reply(context, message, text, link),)
    )
