"""What an update brings about, in one transaction with the note that it was handled.

Taps and replies answer questions, texts are kept for who asked, commands are answered, a block is
noted or lifted. Calls to Telegram that follow are edits and messages of the engine, or chores.
"""

from sqlalchemy import Connection

from services.bridge.approvals import approval, question_text
from services.bridge.approvals import store as approvals
from services.bridge.approvals.approval import Outcome, Via
from services.bridge.updates import answering, responses, store, text_messages
from services.bridge.updates.context import Done, Situation
from services.bridge.updates.parse import Ignored, Membership, Said, Tap
from services.bridge.updates.responses import Kind, NewResponse
from services.bridge.updates.store import Chore
from services.outbox.chats import chat_state
from services.outbox.intake import enqueue
from services.outbox.messages import Reason

_TOO_LATE = (Outcome.LATE, Outcome.EXPIRED, Outcome.CANCELLED)
_UNKNOWN_BUTTON = "This button is not known here any more."


def act(connection: Connection, s: Situation) -> Done | None:
    """Acts on an update; None where somebody has before."""
    if not store.take(connection, s.update.seq, s.now):
        return None
    done = Done()
    match s.incoming:
        case Tap():
            _tap(connection, s, s.incoming, done)
        case Said():
            if s.incoming.private:
                # Who starts the bot for the first time writes to it; only a block that ends is told as one.
                chat_state.unblock(connection, s.bot, s.incoming.chat_id, s.now)
            text_messages.written(connection, s, s.incoming, done)
        case Membership():
            _membership(connection, s, s.incoming, done)
        case Ignored():
            pass
    enqueue.insert(connection, done.submissions, s.now)
    store.leave_chores(connection, s.update.seq, done.chores)
    if done.response is not None:
        responses.add(connection, done.response, s.now)
    return done


def _tap(connection: Connection, s: Situation, tap: Tap, done: Done) -> None:
    done.what = "tap"
    button = approval.button_of(tap.data)
    asked = approvals.by_token(connection, button[0]) if button else None
    # A button comes back to the bot that showed it, and to no other.
    if asked is None or button is None or asked.bot != s.bot:
        done.stranger = tap.sender.id not in s.allowed
        _toast(done, tap, _UNKNOWN_BUTTON)
        if not done.stranger:
            done.response = NewResponse(Kind.TAP, s.bot, tap.sender, tap.data, s.trace, tap.chat_id)
        return
    done.link = answering.link_of(asked)
    changed = answering.answer(connection, s, asked, tap.sender, Via.TAP, button[1], done)
    _toast(done, tap, question_text.toast(changed.outcome, changed.approval))
    if changed.outcome in _TOO_LATE and tap.message_id is not None:
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
        done.response = new


def _toast(done: Done, tap: Tap, text: str) -> None:
    data = {"callback_query_id": tap.query_id, "text": text, "show_alert": True}
    done.chores.append(Chore("answerCallbackQuery", data))


def _membership(connection: Connection, s: Situation, change: Membership, done: Done) -> None:
    done.what = "membership"
    if change.may_write:
        chat_state.unblock(connection, s.bot, change.chat_id, s.now)
    else:
        reason = Reason.BOT_BLOCKED if change.private else Reason.CHAT_GONE
        chat_state.block(connection, s.bot, change.chat_id, reason)
    done.attributes["cctelegram.may_write"] = change.may_write
