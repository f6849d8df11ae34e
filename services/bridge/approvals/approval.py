"""An approval and the result of an answer to it. Pure."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from services.contracts.fields import plain_name
from services.kit.telemetry.telemetry import TraceContext

#: Without letters and digits that look alike.
_CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_CODE_LENGTH = 6
_DATA_PREFIX = "a"


class ApprovalState(StrEnum):
    """State of an approval; all but open are final."""

    OPEN = "open"
    DECIDED = "decided"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


CLOSED = (ApprovalState.DECIDED, ApprovalState.EXPIRED, ApprovalState.CANCELLED)
#: Status of an open approval that reaches nobody.
UNDELIVERED = "undelivered"


class AnswerVia(StrEnum):
    """The way an answer arrived."""

    TAP = "tap"
    REPLY = "reply"
    COMMAND = "command"
    API = "api"


class AnswerOutcome(StrEnum):
    """Result of an answer; also a metric label, so the set is closed."""

    DECIDED = "decided"
    COUNTED = "counted"  #: for the first option, which needs the answers of more people
    LATE = "late"  #: another answer was first
    FOREIGN = "foreign"  #: the person is not an approver
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    NO_SUCH_OPTION = "no_such_option"
    INVALID_TEXT = "invalid_text"  #: the question wants a text, and this one is empty or too long


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer: ``value`` for programs, ``label`` for people."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody answers: a text as it was written, and the option that it names or a button chose.

    Args:
        option: index of the option; None: the answer names none.
        text: as it was written; None: the answer is a choice of an option only.
    """

    option: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who answers or cancels: a person with a Telegram id, or without one a program with an API key."""

    name: str
    user_id: int | None = None
    key: str = ""  #: name of the API key; empty: a person in Telegram

    def is_same(self, other: "Actor") -> bool:
        """Whether both are one person, or one API key under whatever name."""
        return (self.user_id, self.key) == (other.user_id, other.key)


@dataclass(frozen=True, slots=True)
class Vote:
    """An answer for the first option that counts. ``at`` is in seconds since the epoch."""

    by: Actor
    via: AnswerVia
    at: float


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval. Times are seconds since the epoch."""

    id: str
    code: str  #: short, for ``/approve CODE OPTION``
    token: str  #: random, for the data of buttons
    title: str
    prompt: str
    options: tuple[Option, ...]
    approvers: tuple[int, ...]  #: Telegram ids
    bot: str
    client: str  #: name of the key that created it
    source: str
    severity: str
    correlation_id: str
    event_id: str
    trace: TraceContext
    created_at: float
    expires_at: float
    callback_url: str | None = None
    metadata: Mapping[str, Any] | None = None
    state: ApprovalState = ApprovalState.OPEN
    closed_at: float | None = None
    chosen: int | None = None  #: index of the option
    text_limit: int | None = None  #: characters of the text that is the answer; None: an option is the answer
    answer_text: str | None = None  #: the text that decided
    closed_by: Actor | None = None
    via: AnswerVia | None = None
    comment: str = ""
    #: When its last message ended undelivered; None again once a chat shows it.
    undelivered_at: float | None = None
    needed: int = 1  #: different people who must choose the first option
    votes: tuple[Vote, ...] = ()  #: for the first option, in the order of time; only if several are needed
    #: In which its texts show times: of the chats that they are for. It is not stored.
    time_zone: str = "UTC"

    @property
    def status(self) -> str:
        """The state, or that it is open and reaches nobody."""
        undelivered = self.state is ApprovalState.OPEN and self.undelivered_at is not None
        return UNDELIVERED if undelivered else self.state.value

    @property
    def choice(self) -> Option | None:
        """The chosen option; None if the approval was not decided."""
        return None if self.chosen is None else self.options[self.chosen]


@dataclass(frozen=True, slots=True)
class OpenApproval:
    """An open approval as a list shows it."""

    code: str
    title: str
    options: tuple[Option, ...]  #: none: the answer is a text
    expires_at: float


def answer_outcome(approval: Approval, actor: Actor, given: Given, now: float) -> AnswerOutcome:
    """The result that an answer would have now.

    Args:
        approval: as it was read; the compare-and-set of ``decisions`` has the last word.
        actor: who answers.
        given: the answer.
        now: seconds since the epoch.
    """
    if actor.user_id is not None and actor.user_id not in approval.approvers:
        return AnswerOutcome.FOREIGN
    if approval.state is not ApprovalState.OPEN:
        return _OUTCOME_WHEN_CLOSED[approval.state]
    if approval.expires_at <= now:
        return AnswerOutcome.EXPIRED
    return _outcome_of_open(approval, actor, given)


def _outcome_of_open(approval: Approval, actor: Actor, given: Given) -> AnswerOutcome:
    if approval.text_limit is not None:
        fits = given.text is not None and 0 < len(given.text.strip()) <= approval.text_limit
        return AnswerOutcome.DECIDED if fits else AnswerOutcome.INVALID_TEXT
    if given.option is None or not 0 <= given.option < len(approval.options):
        return AnswerOutcome.NO_SUCH_OPTION
    others = [vote for vote in approval.votes if not vote.by.is_same(actor) and _may_vote(approval, vote.by)]
    if given.option == 0 and len(others) + 1 < approval.needed:
        return AnswerOutcome.COUNTED
    return AnswerOutcome.DECIDED


def with_vote(approval: Approval, vote: Vote) -> Approval:
    """The approval with one more vote; a person who repeats the answer counts once.

    Votes of people who may not decide any more are left out.
    """
    votes = tuple(one for one in approval.votes if _may_vote(approval, one.by))
    known = any(one.by.is_same(vote.by) for one in votes)
    return replace(approval, votes=votes if known else (*votes, vote))


def _may_vote(approval: Approval, actor: Actor) -> bool:
    return actor.user_id is None or actor.user_id in approval.approvers


_OUTCOME_WHEN_CLOSED = {
    ApprovalState.DECIDED: AnswerOutcome.LATE,
    ApprovalState.EXPIRED: AnswerOutcome.EXPIRED,
    ApprovalState.CANCELLED: AnswerOutcome.CANCELLED,
}


def written(approval: Approval, text: str) -> Given:
    """The answer of a text: the option that it names, or the text itself, as the question wants it."""
    if approval.text_limit is not None:
        return Given(text=text.strip())
    return Given(option=find_option(approval.options, text))


def find_option(options: Sequence[Option], text: str, *, values_first: bool = False) -> int | None:
    """Index of the option that a text names by its label, its value, or its number from 1; else None.

    Args:
        options: of the question.
        text: as it was written.
        values_first: for a program, which knows the values; people see the labels, so these come first.
    """
    name = plain_name(text)
    labels = [plain_name(option.label) for option in options]
    values = [plain_name(option.value) for option in options]
    for names in (values, labels) if values_first else (labels, values):
        if name and name in names:
            return names.index(name)
    # As it was written: a superscript is no number.
    number = text.strip().rstrip(".)")
    if number.isdecimal() and 1 <= int(number) <= len(options):
        return int(number) - 1
    return None


def new_code() -> str:
    """A random code; another approval may have the same, so check before use."""
    return "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))


def new_token() -> str:
    """96 random bits, so that the button data of another approval cannot be guessed."""
    return secrets.token_urlsafe(12)


def button_data(token: str, index: int) -> str:
    """Callback data of a button: 20 bytes; Telegram accepts 64."""
    return f"{_DATA_PREFIX}:{token}:{index}"


def parse_button_data(data: str) -> tuple[str, int] | None:
    """The token and the option's index in a button's data; None if it is not the button of an approval."""
    prefix, _, rest = data.partition(":")
    token, _, index = rest.rpartition(":")
    if prefix != _DATA_PREFIX or not token or not (index.isascii() and index.isdecimal()):
        return None
    return token, int(index)
