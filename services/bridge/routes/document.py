"""Rules as people write them: the same words in a TOML file and over REST. Pure."""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.bridge.routes.routes import Rule, Target
from services.contracts.events import CATEGORY_OF
from services.contracts.fields import BotName, ChatId, Severity, Strict

MOST_RULES = 500
MOST_TARGETS = 100


class BadRoutesError(Exception):
    """The text is one readable line a fault."""


def _listed(value: object) -> object:
    """``"a"`` is as good as ``["a"]``."""
    return [value] if isinstance(value, str) else value


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Patterns = Annotated[list[Pattern], BeforeValidator(_listed), Field(max_length=100)]
Category = Literal[
    "task", "code", "file", "build", "git", "system", "user", "notification", "integration", "custom"
]


class TargetDocument(Strict):
    chat_id: ChatId
    thread_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(None, description="a topic")
    silent: bool = False
    bot: BotName | None = Field(
        None, description="which bot sends it; unset: the one that the event names, or the default one"
    )


class RuleDocument(Strict):
    """A rule; what it does not ask about does not matter to it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    type: Annotated[list[str], BeforeValidator(_listed), Field(max_length=100)] = Field([])
    category: Annotated[list[Category], BeforeValidator(_listed), Field(max_length=20)] = Field([])
    severity: Annotated[list[Severity], BeforeValidator(_listed), Field(max_length=10)] = Field([])
    source: Patterns = Field([], description="names, with * and ?")
    project: Patterns = Field([], description="data.metadata.project, else the source; with * and ?")
    to: Annotated[list[TargetDocument], Field(min_length=1, max_length=MOST_TARGETS)]
    goes_on: bool = Field(False, alias="continue", description="whether the rules after it are tried too")

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
    """All rules, in the order that they are tried in."""

    routes: Annotated[list[RuleDocument], Field(max_length=MOST_RULES)]

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
    """The rules of a file, each a ``[[route]]``.

    Raises:
        BadRoutesError: one line a fault, by the number and name of the route.
    """
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRoutesError(f"no TOML: {error}") from None
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
