"""Taps: decides on the reaction to a tap on a button. It answers an approval; the person gets a toast."""

from sqlalchemy import Connection

from services.bridge.approvals import approval as domain
from services.bridge.approvals import result_text
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import AnswerOutcome, AnswerVia, Given
from services.bridge.updates import client_buttons
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext, answer_approval, link_to
from services.bridge.updates.responses import NewResponse, ResponseKind
from services.outbox.queries import message_timeline
from services.updates import alert_acts
from services.updates.parse import Tap
from services.updates.stored_updates.store import BotCall

_CLOSED_BEFORE = (AnswerOutcome.LATE, AnswerOutcome.EXPIRED, AnswerOutcome.CANCELLED)
_HANDED_ON = "Passed on to alert-relay: the message will show it."
_NOT_ALLOWED = "You may not use this bot: see TELEGRAM_ALLOWED_USERS."
_UNKNOWN_BUTTON = "This button is not known here any more."


def react(connection: Connection, context: UpdateContext, tap: Tap) -> Reaction:
    """Answers the approval whose button was tapped, or reports a tap on a button of a client's event."""
    if alert_acts.is_button(tap.data):
        return _hand_on(context, tap)
    if (reaction := client_buttons.react(connection, context, tap)) is not None:
        return reaction
    button = domain.parse_button_data(tap.data)
    approval = approvals.by_token(connection, button[0]) if button else None
    # Telegram sends a tap to the bot that showed the button; data for another bot is forged.
    if button is None or approval is None or approval.bot != context.bot:
        return _unknown_button(context, tap)
    _, index = button
    link = link_to(approval)
    answer = answer_approval(connection, context, approval, tap.sender, AnswerVia.TAP, Given(index))
    outcome = answer.change.outcome
    chats = [] if tap.chat_id is None else [tap.chat_id]
    worded = approvals.in_zone_of(connection, answer.change.approval, chats)
    calls = [_toast(tap, result_text.toast(outcome, worded))]
    if outcome in _CLOSED_BEFORE or (
        outcome is AnswerOutcome.DECIDED and not _is_known(connection, tap, context)
    ):
        # No result edits a copy of the question whose delivery is unknown to us.
        calls += _remove_buttons(tap)
    response = NewResponse(
        ResponseKind.TAP,
        context.bot,
        tap.sender,
        approval.options[index].value if index < len(approval.options) else tap.data,
        context.span,
        tap.chat_id,
        telegram_message_id=tap.message_id,
        link=link,
        outcome=outcome.value,
    )
    return Reaction(
        ReactionKind.TAP,
        link,
        answer=answer,
        bot_calls=tuple(calls),
        response=None if outcome is AnswerOutcome.FOREIGN else response,
        unauthorised=not context.allows(tap.sender),
    )


def _is_known(connection: Connection, tap: Tap, context: UpdateContext) -> bool:
    """Whether the tapped message is one that Telegram told us of."""
    if tap.chat_id is None or tap.message_id is None:
        return False
    return message_timeline.by_telegram_id(connection, context.bot, tap.chat_id, tap.message_id) is not None


def _hand_on(context: UpdateContext, tap: Tap) -> Reaction:
    """A tap on a button of an incident: alert-relay reads it as a response, and edits the message."""
    allowed = context.allows(tap.sender)
    response = NewResponse(
        ResponseKind.TAP,
        context.bot,
        tap.sender,
        tap.data,
        context.span,
        tap.chat_id,
        telegram_message_id=tap.message_id,
    )
    return Reaction(
        ReactionKind.TAP,
        bot_calls=(_toast(tap, _HANDED_ON if allowed else _NOT_ALLOWED),),
        response=response if allowed else None,
        unauthorised=not allowed,
    )


def _unknown_button(context: UpdateContext, tap: Tap) -> Reaction:
    """A toast says so. The data becomes a response only if the person may use the bot."""
    response = NewResponse(ResponseKind.TAP, context.bot, tap.sender, tap.data, context.span, tap.chat_id)
    allowed = context.allows(tap.sender)
    return Reaction(
        ReactionKind.TAP,
        bot_calls=(_toast(tap, _UNKNOWN_BUTTON),),
        response=response if allowed else None,
        unauthorised=not allowed,
    )


def _toast(tap: Tap, text: str) -> BotCall:
    return BotCall(
        "answerCallbackQuery", {"callback_query_id": tap.query_id, "text": text, "show_alert": True}
    )


def _remove_buttons(tap: Tap) -> list[BotCall]:
    """The call that removes the buttons of the tapped message; none if Telegram no longer has it."""
    if tap.message_id is None:
        return []
    where = {"chat_id": tap.chat_id, "message_id": tap.message_id}
    return [BotCall("editMessageReplyMarkup", where | {"reply_markup": '{"inline_keyboard":[]}'})]
