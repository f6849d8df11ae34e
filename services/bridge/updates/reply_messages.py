"""Reply messages: the response that a text or a file of a person becomes, and the bot's reply to it. Pure."""

from services.bridge import bot_messages
from services.bridge.approvals.approval import AnswerOutcome
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.bridge.updates.context import UpdateContext
from services.bridge.updates.responses import NewResponse, ResponseKind, ResponseLink
from services.outbox.messages import Submission, Text
from services.outbox.telegram.text import parts_of
from services.updates.parse import TextMessage

_LONGEST_TITLE = 60


def response(
    context: UpdateContext,
    message: TextMessage,
    kind: ResponseKind,
    link: ResponseLink,
    outcome: AnswerOutcome | None = None,
) -> NewResponse:
    """The response of a text or a file, to store."""
    return NewResponse(
        kind,
        context.bot,
        message.sender,
        message.text,
        context.span,
        message.chat_id,
        message.thread_id,
        message.message_id,
        link,
        outcome.value if outcome else None,
        message.attachment,
    )


def reply(context: UpdateContext, message: TextMessage, text: Text, link: ResponseLink) -> Submission:
    """A reply through the engine, which keeps the order of the chat and survives a crash."""
    info = EventInfo(
        "command_executed",
        _title(message.text),
        link.correlation_id or "",
        context.span,
        bot_messages.CLIENT,
    )
    to = [Recipient(message.chat_id, message.thread_id)]
    shown = BotMessage(parts_of(text, "answer.txt"), reply_to=message.message_id)
    return bot_messages.new_submission(
        shown, to, info, context.span.child(), bot=context.bot, now=context.now
    )


def _title(text: str) -> str:
    return cut(text.strip().splitlines()[0] if text.strip() else "…", _LONGEST_TITLE)


def cut(line: str, longest: int) -> str:
    """The line, with at most so many characters."""
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
