"""Text answers: a person's text answers an approval, as a reply, by ``/approve``, or as the next message."""

from sqlalchemy import Connection

from services.bridge.approvals import approval as domain
from services.bridge.approvals import queries, result_text
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import AnswerOutcome, AnswerVia, Approval
from services.bridge.updates import other_messages, reply_messages
from services.bridge.updates.context import (
    PersonalAnswer,
    Reaction,
    ReactionKind,
    UpdateContext,
    answer_approval,
    link_to,
)
from services.bridge.updates.responses import NO_LINK, ResponseKind, ResponseLink
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder
from services.updates.command import Command
from services.updates.parse import TextMessage

_LONGEST_CODE = 16


def by_next_message(connection: Connection, context: UpdateContext, message: TextMessage) -> Reaction | None:
    """Answers the one approval that waits for a text in a private chat; None if none does.

    If several do, nothing is answered, and the person is asked to reply to one of them.
    """
    if not message.private or message.reply_to is not None:
        return None
    waiting = queries.open_texts(
        connection,
        context.bot,
        message.chat_id,
        message.sender.id,
        before=message.message_id,
        now=context.now,
    )
    if not waiting:
        return None
    if len(waiting) == 1:
        return by_reply(connection, context, message, waiting[0], link_to(waiting[0]))
    text = f"{len(waiting)} questions wait for a text here: reply to the one that you answer."
    return Reaction(
        ReactionKind.TEXT,
        replies=(reply_messages.reply(context, message, Builder().text(text).build(), NO_LINK),),
        response=reply_messages.response(
            context, message, ResponseKind.FILE if message.attachment else ResponseKind.TEXT, NO_LINK
        ),
    )


def by_reply(
    connection: Connection,
    context: UpdateContext,
    message: TextMessage,
    approval: Approval,
    link: ResponseLink,
) -> Reaction:
    """Answers the approval whose message a text replies to, or the one that waits for a text in the chat."""
    if other_messages.lacks_words(message, approval):
        return other_messages.ask_for_words(context, message, approval, link)
    given = domain.written(approval, message.text)
    answer = answer_approval(connection, context, approval, message.sender, AnswerVia.REPLY, given)
    outcome = answer.change.outcome
    allowed = context.allows(message.sender)
    notify = allowed or context.may_notify_stranger
    response = reply_messages.response(context, message, ResponseKind.REPLY, link, outcome)
    return Reaction(
        ReactionKind.REPLY,
        link,
        answer=answer,
        replies=(reply_messages.reply(context, message, result_of(connection, answer, message), link),)
        if notify
        else (),
        response=None if outcome is AnswerOutcome.FOREIGN else response,
        unauthorised=not allowed,
        notified_stranger=message.sender.id if notify and not allowed else None,
    )


def result_of(connection: Connection, answer: PersonalAnswer, message: TextMessage) -> Text:
    """The text for the person who answered."""
    worded = approvals.in_zone_of(connection, answer.change.approval, [message.chat_id])
    return Builder().text(result_text.answer_text(answer.change.outcome, worded)).build()


def approve(
    connection: Connection,
    context: UpdateContext,
    message: TextMessage,
    command: Command,
    link: ResponseLink,
) -> tuple[Text, PersonalAnswer | None, ResponseLink]:
    """``/approve CODE OPTION``: an answer without buttons. Returns the reply, the answer and its link."""
    code, _, option = command.argument.partition(" ")
    approval = approvals.by_code(connection, code)
    # An approval belongs to one bot, and to that bot's list of people who may use it.
    if approval is None or approval.bot != context.bot:
        shown = reply_messages.cut(code, _LONGEST_CODE)
        return Builder().text("No question has the code ").code(shown).text(".").build(), None, link
    given = domain.written(approval, option)
    answer = answer_approval(connection, context, approval, message.sender, AnswerVia.COMMAND, given)
    return result_of(connection, answer, message), answer, link_to(approval)
