"""What is written to the bot: replies to questions, commands, texts, and the words of strangers."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from services.bridge import bot_messages
from services.bridge.approvals import approval, question_text
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import Approval, Outcome, Via
from services.bridge.bot_messages import About, Recipient
from services.bridge.commands import commands, modes, parse
from services.bridge.commands.commands import Mode, OpenQuestion, Place, SetMode, SetMute
from services.bridge.commands.parse import Command
from services.bridge.updates import answering, responses
from services.bridge.updates.context import Done, Situation
from services.bridge.updates.parse import Said
from services.bridge.updates.responses import Kind, Link, NewResponse
from services.bridge.updates.store import Chore
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Text
from services.outbox.queries import message_timeline
from services.outbox.telegram.text import Builder, parts_of

_SIGN = "👌"


def written(connection: Connection, s: Situation, words: Said, done: Done) -> None:
    command = parse.parse(words.text)
    if command is not None and command.to and s.username and command.to.lower() != s.username.lower():
        return
    linked = _linked(connection, s, words)
    done.link = linked[0]
    if linked[1] is not None and command is None:
        _reply_to_question(connection, s, words, linked[1], done)
    elif words.sender.id not in s.allowed:
        _stranger(s, words, command, done)
    elif command is not None:
        _command(connection, s, words, command, done)
    else:
        _text(connection, s, words, done)


def _linked(connection: Connection, s: Situation, words: Said) -> tuple[Link, Approval | None]:
    """What a reply answers: the message, its event, and the question where it shows one."""
    if words.reply_to is None:
        return responses.NO_LINK, None
    row = message_timeline.by_telegram_id(connection, s.bot, words.chat_id, words.reply_to)
    # Its buttons tell a question before we have noted that it is there, and where we never do: a copy of
    # which nobody knows whether it arrived.
    button = approval.button_of(words.reply_to_button)
    shown = approvals.by_token(connection, button[0]) if button else None
    if shown is not None and shown.bot == s.bot:
        return answering.link_of(shown, row["id"] if row is not None else None), shown
    if row is None:
        return responses.NO_LINK, None
    asked = approvals.by_message(connection, row["id"])
    if asked is not None:
        return answering.link_of(asked, row["id"]), asked
    trace = TraceContext.parse(row["traceparent"])
    return Link(row["id"], row["event_id"], row["correlation_id"], None, trace), None


def _reply_to_question(
    connection: Connection, s: Situation, words: Said, asked: Approval, done: Done
) -> None:
    done.what = "reply"
    chosen = approval.option_named(asked.options, words.text)
    changed = answering.answer(connection, s, asked, words.sender, Via.REPLY, chosen, done)
    told = Builder().text(question_text.told(changed.outcome, changed.approval)).build()
    if done.stranger:
        _tell_stranger(s, words, told, done)
    else:
        _say(s, words, told, done)
    if changed.outcome is not Outcome.FOREIGN:
        done.response = _response(s, words, Kind.REPLY, done.link, changed.outcome)


def _response(
    s: Situation, words: Said, kind: Kind, link: Link, outcome: Outcome | None = None
) -> NewResponse:
    return NewResponse(
        kind,
        s.bot,
        words.sender,
        words.text,
        s.trace,
        words.chat_id,
        words.thread_id,
        words.message_id,
        link,
        outcome.value if outcome else None,
    )


def _stranger(s: Situation, words: Said, command: Command | None, done: Done) -> None:
    """Who is not allowed is told so once in a while, and never in a group for mere talk."""
    done.what, done.stranger = "stranger", True
    if words.private or command is not None:
        text = Builder().text("You are not authorised to talk to this bot. Your user id is ")
        _tell_stranger(s, words, text.code(str(words.sender.id)).text(".").build(), done)


def _tell_stranger(s: Situation, words: Said, text: Text, done: Done) -> None:
    if s.tell_stranger:
        _say(s, words, text, done)
        done.stranger_told = words.sender.id


def _command(connection: Connection, s: Situation, words: Said, command: Command, done: Done) -> None:
    done.what = "command"
    done.attributes["cctelegram.command"] = command.name if command.name in commands.MENU else "unknown"
    outcome = None
    if command.name == "approve" and command.argument:
        text, outcome = _approve(connection, s, words, command, done)
    else:
        text = _answered(connection, s, words, command)
    _say(s, words, text, done)
    done.response = _response(s, words, Kind.COMMAND, done.link, outcome)


def _approve(
    connection: Connection, s: Situation, words: Said, command: Command, done: Done
) -> tuple[Text, Outcome | None]:
    """``/approve CODE OPTION``: the answer of somebody whose buttons do not work."""
    code, _, option = command.argument.partition(" ")
    asked = approvals.by_code(connection, code)
    # A question has one bot, and that bot's list of who may decide.
    if asked is None or asked.bot != s.bot:
        shown = _short(code, _LONGEST_CODE)
        return Builder().text("No question has the code ").code(shown).text(".").build(), None
    done.link = answering.link_of(asked)
    chosen = approval.option_named(asked.options, option)
    changed = answering.answer(connection, s, asked, words.sender, Via.COMMAND, chosen, done)
    return Builder().text(question_text.told(changed.outcome, changed.approval)).build(), changed.outcome


def _answered(connection: Connection, s: Situation, words: Said, command: Command) -> Text:
    questions = tuple(
        OpenQuestion(one.code, one.title, question_text.listed(one.options), one.expires_at)
        for one in approvals.open_for(connection, s.bot, words.sender.id, s.now)
    )
    place = Place(
        words.chat_id,
        words.sender.id,
        words.sender.name,
        modes.mode_of(connection, s.bot, words.chat_id),
        modes.muted_until(connection, s.bot, words.chat_id, s.now),
        s.now,
    )
    reply = commands.answer(command, replace(s.snapshot, open_questions=questions), place)
    match reply.change:
        case SetMode(mode):
            modes.set_mode(connection, s.bot, words.chat_id, mode)
        case SetMute(until):
            modes.set_mute(connection, s.bot, words.chat_id, until)
        case None:
            pass
    return reply.text


def _text(connection: Connection, s: Situation, words: Said, done: Done) -> None:
    """A text is kept; that it was heard is shown by a sign or by words, as the chat wants it."""
    kind = Kind.REPLY if words.reply_to is not None else Kind.TEXT
    done.what = kind.value
    done.response = _response(s, words, kind, done.link)
    if not words.private and done.link is responses.NO_LINK:
        return
    if modes.mode_of(connection, s.bot, words.chat_id) is Mode.NOMAD:
        to = done.link.correlation_id
        noted = (
            f"Noted about {to}: kept for the program that asked." if to else "Noted: programs can read it."
        )
        _say(s, words, Builder().text(noted).build(), done)
    else:
        sign = f'[{{"type":"emoji","emoji":"{_SIGN}"}}]'
        data: dict[str, Any] = {"chat_id": words.chat_id, "message_id": words.message_id, "reaction": sign}
        done.chores.append(Chore("setMessageReaction", data))


def _say(s: Situation, words: Said, text: Text, done: Done) -> None:
    """Words in answer, through the engine: they keep the chat's order and survive a crash."""
    about = About(
        "command_executed", _title(words.text), done.link.correlation_id or "", s.trace, bot_messages.CLIENT
    )
    to = [Recipient(words.chat_id, words.thread_id)]
    spoken = bot_messages.Said(parts_of(text, "answer.txt"), reply_to=words.message_id)
    done.submissions.append(bot_messages.submission(spoken, to, about, s.trace.child(), bot=s.bot, now=s.now))


_LONGEST_TITLE = 60
_LONGEST_CODE = 16


def _title(text: str) -> str:
    return _short(text.strip().splitlines()[0] if text.strip() else "…", _LONGEST_TITLE)


def _short(line: str, most: int) -> str:
    return line if len(line) <= most else f"{line[: most - 1]}…"
