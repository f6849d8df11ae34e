"""Rules as people write them: the same fields in a TOML file and over REST. Pure."""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from services.bridge.routes.routes import Rule, Target
from services.bridge.watched_files import InvalidFileError
from services.contracts.routes import RoutesDocument, RuleDocument
from services.kit.field_errors import entries


class BadRoutesError(InvalidFileError):
    """The rules are invalid; the text has one line for each fault."""


def rules_of(routes: RoutesDocument) -> tuple[Rule, ...]:
    """The rules that a document describes."""
    return tuple(_rule(rule) for rule in routes.routes)


def _rule(rule: RuleDocument) -> Rule:
    return Rule(
        name=rule.name,
        to=tuple(Target(to.chat_id, to.thread_id, to.silent, to.bot) for to in rule.to),
        types=frozenset(rule.type),
        categories=frozenset(rule.category),
        severities=frozenset(rule.severity),
        sources=tuple(rule.source),
        projects=tuple(rule.project),
        goes_on=rule.goes_on,
    )


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


def from_stored(text: str) -> tuple[RoutesDocument, list[str]]:
    """The rules of an earlier ``PUT``, and one line for each rule that today's limits no longer allow.

    Such a rule is left out: the others stay in force.
    """
    rules, faults = [], []
    for number, written in enumerate(orjson.loads(text)["routes"], start=1):
        try:
            rules.append(RuleDocument.model_validate(written))
        except ValidationError as error:
            faults += [
                f"route {number}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                for fault in entries(error.errors(include_url=False), RuleDocument, written)
            ]
    return RoutesDocument(routes=rules), faults


def _lines(written: Any, error: ValidationError) -> Iterator[str]:
    for fault in entries(error.errors(include_url=False), RoutesDocument, {"routes": written}):
        where = _where(written, fault["loc"])
        yield f"{where}: {fault['msg']}" if where else str(fault["msg"])


def _where(written: Any, loc: Sequence[int | str]) -> str:
    if len(loc) < 2 or not isinstance(loc[1], int):  # noqa: PLR2004 - "routes", and the number
        return ""
    route = written[loc[1]] if isinstance(written, list) else None
    name = f" ({route['name']})" if isinstance(route, dict) and isinstance(route.get("name"), str) else ""
    field = ".".join(map(str, loc[2:]))
    return f"route {loc[1] + 1}{name}" + (f": {field}" if field else "")
