"""Reply links: our message that a person replies to, with its event and the approval that it shows."""

from sqlalchemy import Connection

from services.bridge.approvals import approval as domain
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import Approval
from services.bridge.updates.context import UpdateContext, link_to
from services.bridge.updates.responses import NO_LINK, ResponseLink
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.queries import message_timeline
from services.updates.parse import TextMessage


def replied_to(
    connection: Connection, context: UpdateContext, message: TextMessage
) -> tuple[ResponseLink, Approval | None]:
    """What a message replies to: our message and its event, and the approval if the message shows one."""
    if message.reply_to is None:
        return NO_LINK, None
    row = message_timeline.by_telegram_id(connection, context.bot, message.chat_id, message.reply_to)
    # The buttons identify a question also if we do not know its Telegram id: the delivery is not
    # settled yet, or its outcome is unknown.
    button = domain.parse_button_data(message.reply_to_button)
    shown = approvals.by_token(connection, button[0]) if button else None
    if shown is not None and shown.bot == context.bot:
        return link_to(shown, row["id"] if row is not None else None), shown
    if row is None:
        return NO_LINK, None
    approval = approvals.by_message(connection, row["id"])
    if approval is not None:
        return link_to(approval, row["id"]), approval
    trace = TraceContext.parse(row["traceparent"])
    return ResponseLink(row["id"], row["event_id"], row["correlation_id"], None, trace), None
