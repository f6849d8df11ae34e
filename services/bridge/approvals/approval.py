"""A question to people, and what an answer to it comes to. Pure."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.kit.telemetry.telemetry import TraceContext

#: How long Telegram keeps a tap that nobody fetches (telegram.md 0.4).
TAP_LIFE_SECONDS = 150.0
#: Without what a person could read in two ways.
_CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_CODE_LENGTH = 6
_DATA_PREFIX = "a"


class State(StrEnum):
    OPEN = "open"
    DECIDED = "decided"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


CLOSED = (State.DECIDED, State.EXPIRED, State.CANCELLED)


class Via(StrEnum):
    """How an answer came."""

    TAP = "tap"
    REPLY = "reply"
    COMMAND = "command"
    API = "api"


class Outcome(StrEnum):
    """What an answer came to: a closed set, since it is a metric label too."""

    DECIDED = "decided"
    LATE = "late"  #: somebody decided before
    FOREIGN = "foreign"  #: this person may not decide
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    NO_SUCH_OPTION = "no_such_option"


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Who:
    """Who answers; without a Telegram id it is a program with a key of ours."""

    name: str
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """One question. Times are seconds since the epoch."""

    id: str
    code: str  #: short, for people who type
    token: str  #: opaque, for buttons
    title: str
    prompt: str
    options: tuple[Option, ...]
    approvers: tuple[int, ...]  #: Telegram ids
    bot: str
    client: str  #: name of the key that asked
    source: str
    severity: str
    correlation_id: str
    event_id: str
    trace: TraceContext
    created_at: float
    expires_at: float
    callback_url: str | None = None
    metadata: Mapping[str, Any] | None = None
    state: State = State.OPEN
    closed_at: float | None = None
    chosen: int | None = None  #: index of the option
    closed_by: Who | None = None
    via: Via | None = None
    comment: str = ""

    @property
    def choice(self) -> Option | None:
        return None if self.chosen is None else self.options[self.chosen]


def outcome(approval: Approval, who: Who, chosen: int | None, now: float) -> Outcome:
    """What an answer comes to, as far as this snapshot knows; the store has the last word."""
    if who.user_id is not None and who.user_id not in approval.approvers:
        return Outcome.FOREIGN
    if approval.state is not State.OPEN:
        return _CLOSED[approval.state]
    if approval.expires_at <= now:
        return Outcome.EXPIRED
    if chosen is None or not 0 <= chosen < len(approval.options):
        return Outcome.NO_SUCH_OPTION
    return Outcome.DECIDED


_CLOSED = {
    State.DECIDED: Outcome.LATE,
    State.EXPIRED: Outcome.EXPIRED,
    State.CANCELLED: Outcome.CANCELLED,
}


def option_named(options: Sequence[Option], said: str) -> int | None:
    """The option that a text means: its label, its value, or its number from 1."""
    wanted = " ".join(said.split()).casefold()
    for index, option in enumerate(options):
        if wanted in (option.label.casefold(), option.value.casefold()):
            return index
    number = wanted.rstrip(".)")
    if number.isdecimal() and 1 <= int(number) <= len(options):
        return int(number) - 1
    return None


def new_code() -> str:
    return "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))


def new_token() -> str:
    """96 random bits: nobody can guess the button of another's question."""
    return secrets.token_urlsafe(12)


def button_data(token: str, index: int) -> str:
    """A button's callback data: 20 of the 64 bytes that Telegram takes."""
    return f"{_DATA_PREFIX}:{token}:{index}"


def button_of(data: str) -> tuple[str, int] | None:
    """The token and the option's index of a button, or None where it is no button of a question."""
    prefix, _, rest = data.partition(":")
    token, _, index = rest.rpartition(":")
    if prefix != _DATA_PREFIX or not token or not (index.isascii() and index.isdecimal()):
        return None
    return token, int(index)
