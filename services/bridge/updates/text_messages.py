"""Text messages: decides on the reaction to a text or a file: an answer, a command, or another response.

The caption of a file is its text, and no command. Messages of people who may not use the bot are refused,
except a reply to a question, which is recorded.
"""

from dataclasses import replace

from sqlalchemy import Connection

from services.bridge.approvals import queries as approval_queries
from services.bridge.chats import zones
from services.bridge.commands import commands, modes
from services.bridge.commands.commands import ChatMode, CommandContext, SetMode, SetMute
from services.bridge.first_chat import store as first_chat
from services.bridge.updates import reply_messages, strangers, text_answers
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.reply_links import replied_to
from services.bridge.updates.responses import NO_LINK, ResponseKind, ResponseLink
from services.outbox.chats import chat_state
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder
from services.updates import alert_acts
from services.updates.command import Command, parse_command
from services.updates.parse import TextMessage
from services.updates.stored_updates.store import BotCall

_REACTION = '[{"type":"emoji","emoji":"👌"}]'


def react(connection: Connection, context: UpdateContext, message: TextMessage) -> Reaction:
    """Answers an approval, refuses a stranger, runs a command, or stores a response: in this order."""
    command = None if message.attachment else parse_command(message.text)
    if command is not None and command.is_for_another_bot(context.username):
        return Reaction()
    link, approval = replied_to(connection, context, message)
    if approval is not None and command is None:
        return text_answers.by_reply(connection, context, message, approval, link)
    if command is not None and _chooses_chat(connection, context, message, command):
        return _first_chat(context, message)
    if not context.allows(message.sender):
        return strangers.refuse(context, message, link, is_command=command is not None)
    if command is not None:
        return _run_command(connection, context, message, command, link)
    return text_answers.by_next_message(connection, context, message) or _store_text(
        connection, context, message, link
    )


def _is_perhaps_for_another_bot(message: TextMessage, command: Command, link: ResponseLink) -> bool:
    """Whether it is an unknown command in a group that names no bot, and replies to none of our messages."""
    is_addressed = message.private or command.to is not None or link is not NO_LINK
    return command.name not in commands.MENU and not is_addressed


def _chooses_chat(
    connection: Connection, context: UpdateContext, message: TextMessage, command: Command
) -> bool:
    """Stores the first chat if its code was written, by a person of TELEGRAM_ALLOWED_USERS if that is set."""
    code = context.first_chat_code
    if code is None or (command.name, command.argument.upper()) != ("start", code):
        return False
    if context.allowed and not context.allows(message.sender):
        return False
    return first_chat.choose(
        connection, code, chat_id=message.chat_id, user_id=message.sender.id, now=context.now
    )


def _first_chat(context: UpdateContext, message: TextMessage) -> Reaction:
    out = Builder().text("This chat gets the messages of ").bold("CCTelegram").text(" from now on")
    if not context.allowed:
        out.text(", and you may answer questions and use commands")
    text = out.text(". /help lists the commands.").build()
    return Reaction(
        ReactionKind.COMMAND,
        replies=(reply_messages.reply(context, message, text, NO_LINK),),
        attributes={"cctelegram.command": "start"},
        chose_chat=True,
    )


def _run_command(
    connection: Connection,
    context: UpdateContext,
    message: TextMessage,
    command: Command,
    link: ResponseLink,
) -> Reaction:
    answer = None
    if command.name == "approve" and command.argument:
        text, answer, link = text_answers.approve(connection, context, message, command, link)
    else:
        text = _command_reply(connection, context, message, command)
    outcome = answer.change.outcome if answer else None
    # What is about incidents is answered by alert-relay, which reads it as a response.
    is_silent = _is_perhaps_for_another_bot(message, command, link) or command.name in alert_acts.COMMANDS
    return Reaction(
        ReactionKind.COMMAND,
        link,
        answer=answer,
        replies=() if is_silent else (reply_messages.reply(context, message, text, link),),
        response=reply_messages.response(context, message, ResponseKind.COMMAND, link, outcome),
        attributes={"cctelegram.command": command.name if command.name in commands.MENU else "unknown"},
    )


def _command_reply(
    connection: Connection, context: UpdateContext, message: TextMessage, command: Command
) -> Text:
    """Runs a command and stores the change of the chat that it makes."""
    bot, chat_id = context.bot, message.chat_id
    open_approvals = approval_queries.open_for_user(connection, bot, message.sender.id, context.now)
    given = CommandContext(
        chat_id,
        message.sender.id,
        modes.mode_of(connection, bot, chat_id),
        chat_state.muted_until(connection, bot, chat_id, context.now),
        context.now,
        zones.of_chat(connection, bot, chat_id),
    )
    snapshot = replace(context.snapshot, open_approvals=tuple(open_approvals))
    reply = commands.run(command, snapshot, given)
    match reply.change:
        case SetMode(mode):
            modes.set_mode(connection, bot, chat_id, mode)
        case SetMute(until):
            chat_state.mute(connection, bot, chat_id, until)
        case None:
            pass
    return reply.text


def _store_text(
    connection: Connection, context: UpdateContext, message: TextMessage, link: ResponseLink
) -> Reaction:
    """Stores a response. The chat's mode says whether a reaction or a reply confirms it."""
    is_reply = message.reply_to is not None
    alone = ResponseKind.FILE if message.attachment else ResponseKind.TEXT
    kind = ResponseKind.REPLY if is_reply else alone
    reaction = Reaction(
        ReactionKind(kind),
        link,
        response=reply_messages.response(context, message, kind, link),
    )
    if not message.private and link is NO_LINK:
        return reaction
    if modes.mode_of(connection, context.bot, message.chat_id) is ChatMode.NOMAD:
        about = link.correlation_id
        noted = (
            f"Noted about {about}: kept for the program that asked."
            if about
            else "Noted: programs can read it."
        )
        confirmed = reply_messages.reply(context, message, Builder().text(noted).build(), link)
        return replace(reaction, replies=(confirmed,))
    data = {"chat_id": message.chat_id, "message_id": message.message_id, "reaction": _REACTION}
    return replace(reaction, bot_calls=(BotCall("setMessageReaction", data),))
