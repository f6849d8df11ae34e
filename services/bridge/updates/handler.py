"""What an update brings about, in one transaction with the note that it was handled.

Taps and replies answer questions, texts are kept for who asked, commands are answered, a block is
noted or lifted. Calls to Telegram that follow are edits and messages of the engine, or chores.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from services.bridge import said
from services.bridge.approvals import approval, wording
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import Approval, Outcome, Via, Who
from services.bridge.approvals.store import Changed
from services.bridge.commands import commands, modes
from services.bridge.commands.commands import Command, Mode, OpenQuestion, Place, SetMode, SetMute, Snapshot
from services.bridge.said import About, Recipient
from services.bridge.updates import responses, store
from services.bridge.updates.incoming import Ignored, Incoming, Membership, Said, Sender, Tap
from services.bridge.updates.responses import Kind, Link, NewResponse
from services.bridge.updates.store import Chore, Stored
from services.kit.telemetry import TraceContext
from services.outbox import chats, intake, queries
from services.outbox.messages import Reason, Submission, Text
from services.outbox.text import Builder

_SIGN = "👌"
_UNKNOWN_BUTTON = "This button is not known here any more."


@dataclass(frozen=True, slots=True)
class Situation:
    """All that acting on an update depends on, besides the database.

    Args:
        update: as it was stored.
        incoming: read from it.
        allowed: Telegram ids of those who may talk to the bot.
        username: of the bot, where it is known.
        snapshot: what was measured.
        tell_stranger: whether who is not allowed is told so; once in a while.
        trace: the span of the update.
        now: seconds since the epoch.
    """

    update: Stored
    incoming: Incoming
    allowed: frozenset[int]
    username: str | None
    snapshot: Snapshot
    tell_stranger: bool
    trace: TraceContext
    now: float

    @property
    def bot(self) -> str:
        return self.update.bot


@dataclass(slots=True)
class Done:
    """What was stored, for those to be told after the commit."""

    what: str = "ignored"
    link: Link = responses.NO_LINK
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)
    submissions: list[Submission] = field(default_factory=list)
    changes: list[Changed] = field(default_factory=list)
    answered: tuple[Via, Outcome] | None = None
    chores: list[Chore] = field(default_factory=list)
    stranger: bool = False
    responded: bool = False


def act(connection: Connection, s: Situation) -> Done | None:
    """Acts on an update; None where somebody has before."""
    if not store.take(connection, s.update.seq, s.now):
        return None
    done = Done()
    match s.incoming:
        case Tap():
            _tap(connection, s, s.incoming, done)
        case Said():
            _said(connection, s, s.incoming, done)
        case Membership():
            _membership(connection, s, s.incoming, done)
        case Ignored():
            pass
    intake.insert(connection, done.submissions, s.now)
    store.leave_chores(connection, s.update.seq, done.chores)
    return done


def _tap(connection: Connection, s: Situation, tap: Tap, done: Done) -> None:
    done.what = "tap"
    button = approval.button_of(tap.data)
    asked = approvals.by_token(connection, button[0]) if button else None
    if asked is None or button is None:
        done.stranger = tap.sender.id not in s.allowed
        _toast(done, tap, _UNKNOWN_BUTTON)
        if not done.stranger:
            _respond(
                connection, s, done, NewResponse(Kind.TAP, s.bot, tap.sender, tap.data, s.trace, tap.chat_id)
            )
        return
    done.link = _link_of(asked)
    changed = _answer(connection, s, asked, tap.sender, Via.TAP, button[1], done)
    _toast(done, tap, wording.toast(changed.outcome, changed.approval))
    if changed.outcome not in (Outcome.DECIDED, Outcome.FOREIGN) and tap.message_id is not None:
        # A copy of the question whose buttons are still there: one that arrived unknown to us.
        data = {
            "chat_id": tap.chat_id,
            "message_id": tap.message_id,
            "reply_markup": '{"inline_keyboard":[]}',
        }
        done.chores.append(Chore("editMessageReplyMarkup", data))
    if changed.outcome is not Outcome.FOREIGN:
        option = asked.options[button[1]].value if button[1] < len(asked.options) else tap.data
        new = NewResponse(
            Kind.TAP,
            s.bot,
            tap.sender,
            option,
            s.trace,
            tap.chat_id,
            telegram_message_id=tap.message_id,
            link=done.link,
            outcome=changed.outcome.value,
        )
        _respond(connection, s, done, new)


def _toast(done: Done, tap: Tap, text: str) -> None:
    data = {"callback_query_id": tap.query_id, "text": text, "show_alert": True}
    done.chores.append(Chore("answerCallbackQuery", data))


def _answer(  # noqa: PLR0917 - who, how and what of an answer
    connection: Connection,
    s: Situation,
    asked: Approval,
    sender: Sender,
    via: Via,
    chosen: int | None,
    done: Done,
) -> Changed:
    who = Who(sender.name, sender.id)
    changed = approvals.answer(connection, asked, who, via, chosen, now=s.now, trace=s.trace)
    done.changes.append(changed)
    done.answered = (via, changed.outcome)
    done.attributes["cctelegram.approval_id"] = asked.id
    done.attributes["cctelegram.outcome"] = changed.outcome.value
    done.stranger = sender.id not in s.allowed
    return changed


def _link_of(asked: Approval, message_id: str | None = None) -> Link:
    return Link(message_id, asked.event_id, asked.correlation_id, asked.id, asked.trace)


def _said(connection: Connection, s: Situation, words: Said, done: Done) -> None:
    command = commands.parse(words.text)
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
    row = queries.by_telegram_id(connection, s.bot, words.chat_id, words.reply_to)
    if row is None:
        return responses.NO_LINK, None
    asked = approvals.by_message(connection, row["id"])
    if asked is not None:
        return _link_of(asked, row["id"]), asked
    trace = TraceContext.parse(row["traceparent"])
    return Link(row["id"], row["event_id"], row["correlation_id"], None, trace), None


def _reply_to_question(
    connection: Connection, s: Situation, words: Said, asked: Approval, done: Done
) -> None:
    done.what = "reply"
    chosen = approval.option_named(asked.options, words.text)
    changed = _answer(connection, s, asked, words.sender, Via.REPLY, chosen, done)
    if not done.stranger or s.tell_stranger:
        _say(s, words, Builder().text(wording.told(changed.outcome, changed.approval)).build(), done)
    if changed.outcome is not Outcome.FOREIGN:
        _respond(connection, s, done, _response(s, words, Kind.REPLY, done.link, changed.outcome))


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


def _respond(connection: Connection, s: Situation, done: Done, new: NewResponse) -> None:
    responses.add(connection, new, s.now)
    done.responded = True


def _stranger(s: Situation, words: Said, command: Command | None, done: Done) -> None:
    """Who is not allowed is told so once in a while, and never in a group for mere talk."""
    done.what, done.stranger = "stranger", True
    if s.tell_stranger and (words.private or command is not None):
        text = Builder().text("You are not authorised to talk to this bot. Your user id is ")
        _say(s, words, text.code(str(words.sender.id)).text(".").build(), done)


def _command(connection: Connection, s: Situation, words: Said, command: Command, done: Done) -> None:
    done.what = "command"
    done.attributes["cctelegram.command"] = command.name if command.name in commands.MENU else "unknown"
    outcome = None
    if command.name == "approve" and command.argument:
        text, outcome = _approve(connection, s, words, command, done)
    else:
        text = _answered(connection, s, words, command)
    _say(s, words, text, done)
    _respond(connection, s, done, _response(s, words, Kind.COMMAND, done.link, outcome))


def _approve(
    connection: Connection, s: Situation, words: Said, command: Command, done: Done
) -> tuple[Text, Outcome | None]:
    """``/approve CODE OPTION``: the answer of somebody whose buttons do not work."""
    code, _, option = command.argument.partition(" ")
    asked = approvals.by_code(connection, code)
    if asked is None:
        return Builder().text("No question has the code ").code(code).text(".").build(), None
    done.link = _link_of(asked)
    chosen = approval.option_named(asked.options, option)
    changed = _answer(connection, s, asked, words.sender, Via.COMMAND, chosen, done)
    return Builder().text(wording.told(changed.outcome, changed.approval)).build(), changed.outcome


def _answered(connection: Connection, s: Situation, words: Said, command: Command) -> Text:
    rows = approvals.search(connection, state="open", correlation_id=None, before=None, limit=_MOST_LISTED)
    questions = tuple(
        OpenQuestion(one.code, one.title, wording.listed(one.options), one.expires_at)
        for _, one in rows
        if words.sender.id in one.approvers
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


_MOST_LISTED = 10


def _text(connection: Connection, s: Situation, words: Said, done: Done) -> None:
    """A text is kept; that it was heard is shown by a sign or by words, as the chat wants it."""
    kind = Kind.REPLY if words.reply_to is not None else Kind.TEXT
    done.what = kind.value
    _respond(connection, s, done, _response(s, words, kind, done.link))
    if not words.private and done.link is responses.NO_LINK:
        return
    if modes.mode_of(connection, s.bot, words.chat_id) is Mode.NOMAD:
        about = f" about {done.link.correlation_id}" if done.link.correlation_id else ""
        _say(s, words, Builder().text(f"Noted{about}: kept for the program that asked.").build(), done)
    else:
        sign = f'[{{"type":"emoji","emoji":"{_SIGN}"}}]'
        data: dict[str, Any] = {"chat_id": words.chat_id, "message_id": words.message_id, "reaction": sign}
        done.chores.append(Chore("setMessageReaction", data))


def _say(s: Situation, words: Said, text: Text, done: Done) -> None:
    """Words in answer, through the engine: they keep the chat's order and survive a crash."""
    about = About(
        "command_executed", _title(words.text), done.link.correlation_id or "", s.trace, said.CLIENT
    )
    to = [Recipient(words.chat_id, words.thread_id)]
    spoken = said.Said((text,), reply_to=words.message_id)
    done.submissions.append(said.submission(spoken, to, about, s.trace.child(), bot=s.bot, now=s.now))


_LONGEST_TITLE = 60


def _title(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "…"
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1]}…"


def _membership(connection: Connection, s: Situation, change: Membership, done: Done) -> None:
    done.what = "membership"
    if change.may_write:
        chats.revive(connection, s.bot, change.chat_id, s.now)
    else:
        reason = Reason.BOT_BLOCKED if change.private else Reason.CHAT_GONE
        chats.block(connection, s.bot, change.chat_id, reason)
    done.attributes["cctelegram.may_write"] = change.may_write
