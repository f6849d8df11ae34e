"""Handles one update in one transaction: marks it as handled, decides on the reaction, and stores that.

`taps`, `text_messages` and `other_messages` decide on what people do; this module on changes of membership.
"""

from sqlalchemy import Connection

from services.bridge.updates import other_messages, responses, taps, text_messages
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.webhooks import store as webhooks
from services.outbox.chats import chat_state
from services.outbox.intake import enqueue
from services.outbox.messages import Reason
from services.updates.parse import Ignored, Membership, NotTaken, Tap, TextMessage, Unreadable
from services.updates.stored_updates import store


def handle(connection: Connection, context: UpdateContext) -> Reaction | None:
    """Handles an update; returns what to do after the commit, or None if it was handled before."""
    if not store.mark_handled(connection, context.update.seq, context.now):
        return None
    reaction = _react(connection, context)
    enqueue.insert(connection, reaction.replies, context.now)
    store.add_bot_calls(connection, context.update.seq, reaction.bot_calls)
    webhooks.add(connection, reaction.webhooks, context.now)
    if reaction.response is not None:
        responses.add(connection, reaction.response, context.now)
    return reaction


def _react(connection: Connection, context: UpdateContext) -> Reaction:
    match context.parsed:
        case Tap() as tap:
            return taps.react(connection, context, tap)
        case TextMessage() as message:
            _note_contact(connection, context, message)
            return text_messages.react(connection, context, message)
        case NotTaken(message, what):
            _note_contact(connection, context, message)
            return other_messages.react(connection, context, message, what)
        case Membership() as change:
            return _change_membership(connection, context, change)
        case Ignored() | Unreadable():
            return Reaction()


def _note_contact(connection: Connection, context: UpdateContext, message: TextMessage) -> None:
    """Who writes to the bot has not blocked it; Telegram sends no membership update for the first message."""
    if message.private:
        chat_state.unblock(connection, context.bot, message.chat_id, context.now)


def _change_membership(connection: Connection, context: UpdateContext, change: Membership) -> Reaction:
    """Blocks the chat's messages, or lets them go again."""
    if change.may_write:
        chat_state.unblock(connection, context.bot, change.chat_id, context.now)
    else:
        reason = Reason.BOT_BLOCKED if change.private else Reason.CHAT_GONE
        chat_state.block(connection, context.bot, change.chat_id, reason)
    return Reaction(ReactionKind.MEMBERSHIP, attributes={"cctelegram.may_write": change.may_write})
