"""Rules as people write them: the same fields in a TOML file and over REST. Pure."""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.bridge.routes.routes import Rule, Target
from services.contracts.events import CATEGORY_OF
from services.contracts.fields import BotName, ChatId, Severity, Strict, ThreadId, about

MOST_RULES = 500
MOST_TARGETS = 100


class BadRoutesError(Exception):
    """The rules are invalid; the text has one line for each fault."""


def _listed(value: object) -> object:
    """Accepts ``"a"`` for ``["a"]``."""
    return [value] if isinstance(value, str) else value


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Patterns = Annotated[list[Pattern], BeforeValidator(_listed), Field(max_length=100)]
Category = Literal[
    "task", "code", "file", "build", "git", "system", "user", "notification", "integration", "custom"
]


class TargetDocument(Strict):
    """A recipient."""

    chat_id: Annotated[ChatId, about("ID of a person, a group or a channel", -1001234567890)]
    thread_id: Annotated[ThreadId | None, about("ID of a topic of the chat", 7)] = None
    silent: Annotated[bool, about("whether the message makes no sound", False)] = False
    bot: Annotated[
        BotName | None,
        about("the bot that sends it; unset: the event's bot, or the default one", "default"),
    ] = None


class RuleDocument(Strict):
    """A rule. It matches an event if every condition that is set matches."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        about("name of the rule, unique", "production alarms"),
    ]
    type: Annotated[
        Annotated[list[str], BeforeValidator(_listed), Field(max_length=100)],
        about("matches these event types", ["build_failed"]),
    ] = Field([])
    category: Annotated[
        Annotated[list[Category], BeforeValidator(_listed), Field(max_length=20)],
        about("matches these categories", ["system"]),
    ] = Field([])
    severity: Annotated[
        Annotated[list[Severity], BeforeValidator(_listed), Field(max_length=10)],
        about("matches these severities", ["high", "critical"]),
    ] = Field([])
    source: Annotated[Patterns, about("matches these sources; * and ? are wildcards", ["prod-*"])] = Field([])
    project: Annotated[
        Patterns,
        about("matches data.metadata.project, or the source without it; * and ? are wildcards", ["shop"]),
    ] = Field([])
    to: Annotated[
        Annotated[list[TargetDocument], Field(min_length=1, max_length=MOST_TARGETS)],
        about("the recipients"),
    ]
    goes_on: Annotated[
        bool,
        Field(alias="continue", description="whether later rules are evaluated too", examples=[False]),
    ] = False

    @model_validator(mode="after")
    def _known_types(self) -> Self:
        for kind in self.type:
            if kind not in CATEGORY_OF:
                raise ValueError(f"type: {kind!r} is none of GET /api/v1/event-types")
        return self

    def rule(self) -> Rule:
        return Rule(
            name=self.name,
            to=tuple(Target(to.chat_id, to.thread_id, to.silent, to.bot) for to in self.to),
            types=frozenset(self.type),
            categories=frozenset(self.category),
            severities=frozenset(self.severity),
            sources=tuple(self.source),
            projects=tuple(self.project),
            goes_on=self.goes_on,
        )


class RoutesDocument(Strict):
    """All rules, in the order of evaluation."""

    routes: Annotated[
        Annotated[list[RuleDocument], Field(max_length=MOST_RULES)],
        about("the rules; evaluation stops at the first match"),
    ]

    @model_validator(mode="after")
    def _different_names(self) -> Self:
        names = [rule.name for rule in self.routes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two routes are named {name!r}")
        return self

    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule.rule() for rule in self.routes)


def from_toml(text: str) -> RoutesDocument:
    """The rules of a file; each is a ``[[route]]``.

    Raises:
        BadRoutesError: one line for each fault, with the number and the name of the route.
    """
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRoutesError(f"not valid TOML: {error}") from None
    stray = sorted(set(read) - {"route"})
    if stray:
        raise BadRoutesError(f"{stray[0]}: unknown; a route begins with [[route]]")
    try:
        return RoutesDocument.model_validate({"routes": read.get("route", [])})
    except ValidationError as error:
        raise BadRoutesError("\n".join(_lines(read.get("route"), error))) from None


def _lines(written: Any, error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        message = str(fault["msg"]).removeprefix("Value error, ")
        where = _where(written, fault["loc"])
        yield f"{where}: {message}" if where else message


def _where(written: Any, loc: Sequence[int | str]) -> str:
    if len(loc) < 2 or not isinstance(loc[1], int):  # noqa: PLR2004 - "routes", and the number
        return ""
    route = written[loc[1]] if isinstance(written, list) else None
    name = f" ({route['name']})" if isinstance(route, dict) and isinstance(route.get("name"), str) else ""
    field = ".".join(map(str, loc[2:]))
    return f"route {loc[1] + 1}{name}" + (f": {field}" if field else "")
