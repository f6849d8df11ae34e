"""What people read of a question. Pure.

The prompt is shown exactly and whole. Where it does not fit a message it becomes a file, and the
message with the buttons says so: nobody decides on the beginning of a text.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.bridge.approvals.approval import Approval, Option, Outcome, State, button_data
from services.bridge.bot_messages import Said
from services.outbox.messages import Document, Text
from services.outbox.telegram.text import CAPTION_LIMIT, ENTITY_LIMIT, MESSAGE_LIMIT, Builder, remove_suffix

#: Kept free for the verdict, which is added to the question.
_ROOM_FOR_VERDICT = 600
#: Of the line that says how to answer.
_OUR_ENTITIES = 2
_NARROW = 16
SIGN = "🙋"
#: No tick for a decision: it may be a no.
_SIGNS = {State.DECIDED: "☑️", State.EXPIRED: "⌛", State.CANCELLED: "🚫"}
LONGEST_TOAST = 200


def question(approval: Approval, theirs: Text | None = None) -> Said:
    """The question with its buttons.

    Args:
        approval: what is asked.
        theirs: a team's own words for it; used only where they show the whole prompt, and fit.
    """
    if theirs is not None and is_whole(theirs, approval):
        return Said((_how_to_answer(Builder().add(theirs), approval).build(),), keyboard(approval))
    text = _how_to_answer(_asked(approval), approval).build()
    if _fits(approval):
        return Said((text,), keyboard(approval))
    content = f"{approval.title}\n\n{approval.prompt}"
    caption = Builder().text(f"{SIGN} ").bold(approval.title).build()
    assert len(caption.text) <= CAPTION_LIMIT, "a title has 200 characters"  # noqa: S101 - the contract's limit
    file = Document(f"approval-{approval.code}.txt", content.encode(), caption)
    return Said((file, text), keyboard(approval))


def verdict(approval: Approval, shown: Text | None = None) -> Said:
    """The question with what became of it, and without buttons.

    Args:
        approval: closed.
        shown: the question as it stands in the chats; None where nobody knows it any more.
    """
    how = _how_to_answer(Builder(), approval).build().text
    if shown is None or not shown.text.endswith(how):
        return Said((_verdict(_asked(approval), approval),))
    return Said((_verdict(Builder().add(remove_suffix(shown, how)), approval),))


def again(approval: Approval, since: float, until: float, reply_to: int | None) -> Said:
    """The question once more, after taps may have been lost.

    Args:
        approval: still open.
        since: when Telegram was last heard of.
        until: when it was heard of again.
        reply_to: Telegram's id of the question in this chat.
    """
    out = Builder().text(f"{SIGN} ").bold("Still open: ").bold(approval.title)
    out.text(f"\n\nNothing was heard from Telegram between {moment(since)} and {moment(until)}.")
    out.text(" A button that was tapped then is lost: please tap again.")
    return Said((_how_to_answer(out, approval).build(),), keyboard(approval), reply_to)


def verdict_of_again(approval: Approval) -> Said:
    """What becomes of :func:`again`."""
    return Said((_verdict(Builder().text(f"{SIGN} ").bold(approval.title), approval),))


def _asked(approval: Approval) -> Builder:
    out = Builder().text(f"{SIGN} ").bold(approval.title).text("\n\n")
    if _fits(approval):
        return out.text(approval.prompt)
    length = len(approval.prompt)
    return out.text(f"The question has {length} characters, too many for a message. ").bold(
        f"Read it whole in the file approval-{approval.code}.txt above."
    )


def is_whole(words: Text, approval: Approval) -> bool:
    """Whether a team's own words show the whole prompt, and leave room for what becomes of it."""
    return (
        approval.prompt.strip() in words.text
        and len(words.text) + _ROOM_FOR_VERDICT <= MESSAGE_LIMIT
        and len(words.entities) + _OUR_ENTITIES <= ENTITY_LIMIT
    )


def _fits(approval: Approval) -> bool:
    return len(approval.title) + len(approval.prompt) + _ROOM_FOR_VERDICT <= MESSAGE_LIMIT


def _how_to_answer(out: Builder, approval: Approval) -> Builder:
    out.text(f"\n\nUntil {moment(approval.expires_at)}. ")
    return out.italic("Tap, reply with an option, or send ").code(f"/approve {approval.code} OPTION")


def _verdict(out: Builder, approval: Approval) -> Text:
    return out.text("\n\n").bold(closed(approval)).build()


def closed(approval: Approval) -> str:
    """What became of it, in a line: ``☑️ Decided: Deny, by Ada, 2026-01-01 10:00:00 UTC``."""
    at = moment(approval.closed_at if approval.closed_at is not None else approval.expires_at)
    by = f", by {approval.closed_by.name}" if approval.closed_by and approval.closed_by.name else ""
    words = {
        State.OPEN: "Still open",
        State.DECIDED: f"Decided: {approval.choice.label}" if approval.choice else "Decided",
        State.EXPIRED: "Expired without an answer",
        State.CANCELLED: "Cancelled",
    }[approval.state]
    comment = f": {approval.comment}" if approval.comment else ""
    return f"{_SIGNS.get(approval.state, SIGN)} {words}{by}, {at}{comment}"


def keyboard(approval: Approval) -> Mapping[str, Any]:
    """The buttons: two a row while they are short."""
    buttons = [
        {"text": option.label, "callback_data": button_data(approval.token, index)}
        for index, option in enumerate(approval.options)
    ]
    width = 2 if all(len(option.label) <= _NARROW for option in approval.options) else 1
    return {"inline_keyboard": [buttons[i : i + width] for i in range(0, len(buttons), width)]}


def toast(outcome: Outcome, approval: Approval) -> str:
    """:func:`told`, as short as Telegram wants it over a button."""
    said = told(outcome, approval)
    return said if len(said) <= LONGEST_TOAST else f"{said[: LONGEST_TOAST - 1]}…"


def told(outcome: Outcome, approval: Approval) -> str:
    """What is told to who answered, honestly."""
    return {
        Outcome.DECIDED: f"Noted. {closed(approval)}",
        Outcome.LATE: f"Too late. {closed(approval)}",
        Outcome.FOREIGN: "You may not decide this. Your answer was recorded and changes nothing.",
        Outcome.EXPIRED: f"Too late: this expired at {moment(approval.expires_at)}.",
        Outcome.CANCELLED: f"Too late. {closed(approval)}",
        Outcome.NO_SUCH_OPTION: f"No such option. There are: {listed(approval.options)}",
    }[outcome]


def listed(options: Sequence[Option]) -> str:
    return ", ".join(f"{number} {option.label}" for number, option in enumerate(options, 1))


def moment(seconds: float) -> str:
    """1767225600 → ``2026-01-01 00:00:00 UTC``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
