"""Options that several commands share, and the reading of their values."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

import typer

from services.cli import times
from services.cli.session import Session, UsageError
from services.contracts.events import CATEGORY_OF
from services.contracts.messages import MessageState

T = TypeVar("T")
_NUMBER = re.compile(r"-?[0-9]{1,19}")

STATES: tuple[str, ...] = get_args(MessageState)


def types(incomplete: str) -> list[str]:
    return [name for name in CATEGORY_OF if name.startswith(incomplete)]


def _states(incomplete: str) -> list[str]:
    return [name for name in STATES if name.startswith(incomplete)]


Bot = Annotated[str | None, typer.Option("--bot", help="Name of the bot.")]
Correlation = Annotated[str | None, typer.Option("--correlation-id", help="Correlation id.")]
Chat = Annotated[str | None, typer.Option("--chat", help="Chat: its id, @username or name.")]
Type = Annotated[str, typer.Option("--type", help="Event type.", autocompletion=types)]
Status = Annotated[
    list[str] | None,
    typer.Option("--status", help="State; may be repeated.", autocompletion=_states, show_default=False),
]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Reason, such as chat_not_found; may be repeated.")
]
Why = Annotated[str, typer.Option("--why", help="Why, shown with the message.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(help="A repetition with the same key within 24 hours does nothing more."),
]


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were given: a request has nothing else, so that the defaults are the service's."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value not in ("", [], {})
    }


def chat_id(session: Session, chat: str | None, bot: str | None) -> int | None:
    """The id of ``--chat``; None if it is not given. The bridge finds a name.

    Raises:
        ProblemError: no chat has the name.
    """
    if chat is None or _NUMBER.fullmatch(chat):
        return None if chat is None else int(chat)
    return session.client.chat(chat, bot=bot).chat_id


def states(wanted: Sequence[str] | None) -> list[Any]:
    """The states of ``--status``.

    Raises:
        UsageError: there is no such state.
    """
    for state in wanted or ():
        if state not in STATES:
            raise UsageError(f"--status: {state} is none of {', '.join(STATES)}")
    return list(wanted or ())


def read(option: str, text: str | None, reader: Callable[[str], T]) -> T | None:
    """The value of an option; None if it is not given.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return None if text is None else reader(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def data(pairs: Sequence[str] | None) -> dict[str, Any]:
    """The fields of ``--data NAME=VALUE``; a value that is JSON is taken as JSON, anything else as text.

    Raises:
        UsageError: there is no ``=``.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--data: write NAME=VALUE, not {pair}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def buttons(pairs: Sequence[str] | None) -> list[list[dict[str, str]]] | None:
    """The rows of ``--button TEXT=VALUE``, one for each: a link if the value is a URL, else data.

    Raises:
        UsageError: there is no ``=``.
    """
    rows = []
    for pair in pairs or ():
        text, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--button: write TEXT=URL or TEXT=DATA, not {pair}")
        kind = "url" if value.lower().startswith(("http://", "https://")) else "data"
        rows.append([{"text": text, kind: value}])
    return rows or None


@dataclass(frozen=True, slots=True)
class Conditions:
    """Options that select messages; all must match."""

    type: Annotated[str | None, typer.Option("--type", help="Event type.", autocompletion=types)] = None
    chat: Chat = None
    bot: Bot = None
    correlation_id: Correlation = None
    since: Annotated[
        str | None, typer.Option("--since", help="Accepted since: 2h, 2026-01-31 or 2026-01-31T08:00:00Z.")
    ] = None
    until: Annotated[str | None, typer.Option("--until", help="Accepted before: written as --since.")] = None
    title: Annotated[str | None, typer.Option("--title", help="Part of the title.")] = None

    def of(self, session: Session) -> dict[str, Any]:
        """The conditions as the client takes them.

        Raises:
            UsageError: a time cannot be read.
            ProblemError: no chat has the name.
        """
        now = session.now
        return {
            "type": self.type,
            "chat_id": chat_id(session, self.chat, self.bot),
            "bot": self.bot,
            "correlation_id": self.correlation_id,
            "since": read("--since", self.since, lambda text: times.moment(text, now)),
            "until": read("--until", self.until, lambda text: times.moment(text, now)),
            "q": self.title,
        }


#: No condition.
ALL = Conditions()
