"""Strangers: people who may not use the bot get a notice with what the operator needs to let them in."""

from collections import OrderedDict

from services.bridge import bots
from services.bridge.updates import reply_messages
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.responses import ResponseLink
from services.kit.clock import Clock
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder
from services.updates.parse import TextMessage

NOTICE_INTERVAL_SECONDS = 3_600.0
#: The last so many strangers are remembered.
REMEMBERED_STRANGERS = 10_000


class StrangerNotices:
    """When each stranger last got a notice in each chat: at most one an hour.

    Args:
        clock: source of the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Telegram ids of a stranger and of the chat → when the last notice was sent, monotonic.
        self._sent: OrderedDict[tuple[int, int | None], float] = OrderedDict()

    def may_notify(self, user_id: int, chat_id: int | None) -> bool:
        """Whether the stranger may get a notice in the chat now."""
        sent_at = self._sent.get((user_id, chat_id))
        return sent_at is None or self._clock.monotonic() - sent_at >= NOTICE_INTERVAL_SECONDS

    def remember(self, user_id: int, chat_id: int | None) -> None:
        """Remembers that a notice was sent now."""
        self._sent[user_id, chat_id] = self._clock.monotonic()
        self._sent.move_to_end((user_id, chat_id))
        if len(self._sent) > REMEMBERED_STRANGERS:
            self._sent.popitem(last=False)


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
