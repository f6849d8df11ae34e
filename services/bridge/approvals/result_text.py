"""The result of an approval and of an answer to it, as people read it in Telegram. Pure."""

from collections.abc import Sequence

from services.bridge.approvals.approval import AnswerOutcome, Approval, ApprovalState, Option, Vote
from services.bridge.chats.times import date_and_time

SIGN = "🙋"
#: No tick for a decision: it may be a no.
_SIGNS = {ApprovalState.DECIDED: "☑️", ApprovalState.EXPIRED: "⌛", ApprovalState.CANCELLED: "🚫"}
LONGEST_TOAST = 200
#: Characters of a list of people; the message must keep room for it.
_LONGEST_NAMES = 150
#: Characters of an answer in one's own words that the result shows; the message must keep room for it.
_LONGEST_TEXT = 150


def result_line(approval: Approval) -> str:
    """The result in one line: ``☑️ Decided: Deny, by Ada, 2026-01-01 10:00:00 UTC``."""
    closed_at = approval.closed_at if approval.closed_at is not None else approval.expires_at
    at = date_and_time(closed_at, approval.time_zone)
    by = f", by {_closers(approval)}" if approval.closed_by and approval.closed_by.name else ""
    result = {
        ApprovalState.OPEN: "Still open",
        ApprovalState.DECIDED: _decided(approval),
        ApprovalState.EXPIRED: "Expired without an answer",
        ApprovalState.CANCELLED: "Cancelled",
    }[approval.state]
    comment = f": {approval.comment}" if approval.comment else ""
    return f"{_SIGNS.get(approval.state, SIGN)} {result}{by}, {at}{comment}"


def _decided(approval: Approval) -> str:
    if approval.answer_text is not None:
        text = " ".join(approval.answer_text.split())
        return f"Answered: {text if len(text) <= _LONGEST_TEXT else f'{text[: _LONGEST_TEXT - 1]}…'}"
    return f"Decided: {approval.choice.label}" if approval.choice else "Decided"


def _closers(approval: Approval) -> str:
    """Who closed it: all who chose the first option, if that is the decision and needed several."""
    if approval.state is ApprovalState.DECIDED and approval.chosen == 0 and approval.needed > 1:
        return names(approval.votes)
    return approval.closed_by.name if approval.closed_by else ""


def progress_line(approval: Approval) -> str:
    """How many people the first option needs, and who has chosen it; empty if one person decides."""
    if approval.needed == 1 or not approval.options:
        return ""
    so_far = f"; so far {len(approval.votes)}: {names(approval.votes)}" if approval.votes else ""
    return f"“{approval.options[0].label}” needs {approval.needed} people{so_far}."


def names(votes: Sequence[Vote]) -> str:
    """The names of people: ``Ada, Grace and 2 more``; the later ones are left out if that is too long."""
    shown = [vote.by.name for vote in votes]
    for number in range(len(shown), 0, -1):
        left = len(shown) - number
        text = ", ".join(shown[:number]) + (f" and {left} more" if left else "")
        if len(text) <= _LONGEST_NAMES:
            return text
    return f"{len(shown)} people"


def toast(outcome: AnswerOutcome, approval: Approval) -> str:
    """:func:`answer_text`, cut to what Telegram shows over a button."""
    text = answer_text(outcome, approval)
    return text if len(text) <= LONGEST_TOAST else f"{text[: LONGEST_TOAST - 1]}…"


def answer_text(outcome: AnswerOutcome, approval: Approval) -> str:
    """The text for the person who answered."""
    expired_at = date_and_time(approval.expires_at, approval.time_zone)
    return {
        AnswerOutcome.DECIDED: f"Noted. {result_line(approval)}",
        AnswerOutcome.COUNTED: f"Counted. {progress_line(approval)}",
        AnswerOutcome.LATE: f"Too late. {result_line(approval)}",
        AnswerOutcome.FOREIGN: "You may not decide this. Your answer was recorded and changes nothing.",
        AnswerOutcome.EXPIRED: f"Too late: this expired at {expired_at}.",
        AnswerOutcome.CANCELLED: f"Too late. {result_line(approval)}",
        AnswerOutcome.INVALID_TEXT: f"Not taken: write 1 to {approval.text_limit} characters.",
        AnswerOutcome.NO_SUCH_OPTION: f"No such option. There are: {option_list(approval.options)}",
    }[outcome]


def option_list(options: Sequence[Option]) -> str:
    """The labels with their numbers: ``1 Approve, 2 Deny``; of a question for a text, that it wants one."""
    if not options:
        return "a text in your own words"
    return ", ".join(f"{number} {option.label}" for number, option in enumerate(options, 1))
