"""Taps on the buttons of a client's event: stored as a response, reported to its callback_url."""

from typing import Any

from sqlalchemy import Connection, select

from services.bridge.events import buttons
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.responses import NewResponse, ResponseKind, ResponseLink
from services.bridge.webhooks.store import NewCall
from services.contracts.buttons import Button
from services.contracts.responses import User
from services.contracts.webhooks import ButtonData, ButtonTapped
from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Origin
from services.outbox.schema import event, message
from services.updates.parse import Tap
from services.updates.stored_updates.store import BotCall

#: Kind of the webhook calls.
KIND = "button"
_NOTED = "Noted."
_NOT_ALLOWED = "You may not use this bot."


def react(connection: Connection, context: UpdateContext, tap: Tap) -> Reaction | None:
    """The reaction to a tap; None if it is on no button of a client's event that this bot shows there."""
    named = buttons.tapped(tap.data)
    row = _message(connection, context, tap, named[0]) if named else None
    button = buttons.find(row.body, named[1]) if named and row is not None else None
    if row is None or button is None or button.data is None:
        return None
    if not context.allows(tap.sender):
        return Reaction(ReactionKind.TAP, bot_calls=(_toast(tap, _NOT_ALLOWED),), unauthorised=True)
    link = ResponseLink(
        row.id, row.event_id, row.correlation_id, trace=TraceContext.parse(str(row.traceparent))
    )
    response = NewResponse(
        *(ResponseKind.TAP, context.bot, tap.sender, button.data, context.span, tap.chat_id),
        telegram_message_id=tap.message_id,
        link=link,
    )
    call = _call(context, tap, row, button)
    return Reaction(
        ReactionKind.TAP,
        link,
        bot_calls=(_toast(tap, button.answer or _NOTED),),
        response=response,
        webhooks=(call,) if call else (),
    )


def _message(connection: Connection, context: UpdateContext, tap: Tap, message_id: str) -> Any:
    """The client's message with its event; None where the bot shows no such message in the chat."""
    query = (
        select(
            *(message.c.id, message.c.event_id, event.c.body, event.c.correlation_id, event.c.title),
            *(event.c.traceparent, event.c.callback_url),
        )
        .join(event, message.c.event_id == event.c.id)
        .where(message.c.id == message_id, message.c.bot == context.bot, message.c.chat_id == tap.chat_id)
        .where(event.c.origin == Origin.CLIENT.value)
    )
    return connection.execute(query).first()


def _call(context: UpdateContext, tap: Tap, row: Any, button: Button) -> NewCall | None:
    if row.callback_url is None:
        return None
    data = ButtonData(
        message_id=row.id,
        event_id=row.event_id,
        correlation_id=row.correlation_id,
        title=row.title,
        chat_id=tap.chat_id,
        bot=context.bot,
        text=button.text,
        data=button.data or "",
        user=User(id=tap.sender.id, name=tap.sender.name, username=tap.sender.username),
    )
    body = ButtonTapped(timestamp=rfc3339(context.update.received_at), data=data).model_dump_json()
    return NewCall(KIND, row.id, row.callback_url, body, context.span)


def _toast(tap: Tap, text: str) -> BotCall:
    return BotCall("answerCallbackQuery", {"callback_query_id": tap.query_id, "text": text})
