"""Rules, and the recipients that they give an event. Pure.

Rules are evaluated in order. Evaluation stops at the first match, unless that rule says to continue. An
event without a match goes to the default recipients; an event that names its recipients is not routed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

from services.bridge.bots import DEFAULT
from services.contracts.events import CATEGORY_OF, NewEvent
from services.contracts.fields import Severity


@dataclass(frozen=True, slots=True)
class Target:
    """A recipient as a rule or an event names it.

    Args:
        chat: its id, ``@username`` or name.
        thread_id: a topic of it.
        silent: whether the message makes no sound.
        bot: that sends it; None: the event's bot, or the default one.
    """

    chat: int | str
    thread_id: int | None = None
    silent: bool = False
    bot: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of an event that conditions match."""

    type: str
    category: str
    source: str
    severity: Severity
    project: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; an empty condition matches everything. Names may have the wildcards ``*`` and ``?``."""

    name: str
    to: tuple[Target, ...]
    types: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    severities: frozenset[Severity] = frozenset()
    sources: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    goes_on: bool = False

    def fits(self, facts: Facts) -> bool:
        return (
            (not self.types or facts.type in self.types)
            and (not self.categories or facts.category in self.categories)
            and (not self.severities or facts.severity in self.severities)
            and _like(facts.source, self.sources)
            and _like(facts.project, self.projects)
        )


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient, and the rule that named it; None if no rule did."""

    target: Target
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Routes:
    """The rules in force, and the default recipients.

    Args:
        bots: the default recipients of each bot, by the bot's name.
        rules: in the order of evaluation.
    """

    bots: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {DEFAULT: ()})
    rules: tuple[Rule, ...] = ()

    def recipients(self, event: NewEvent) -> list[Recipient]:
        """The recipients that the event names, else those of the rules, else its bot's default ones."""
        if event.chat_id is not None:
            named = event.chat_id if isinstance(event.chat_id, list) else [event.chat_id]
            return [Recipient(Target(chat)) for chat in named]
        routed = by_rules(self.rules, facts_of(event)) if self.rules else []
        return routed or [Recipient(Target(chat_id)) for chat_id in self.bots[event.bot or DEFAULT]]

    def unknown_bots(self) -> list[tuple[str, str]]:
        """Pairs of a rule and the unknown bot that it names."""
        return [
            (rule.name, target.bot)
            for rule in self.rules
            for target in rule.to
            if target.bot is not None and target.bot not in self.bots
        ]


def by_rules(rules: Sequence[Rule], facts: Facts) -> list[Recipient]:
    """The recipients by rules; each topic of each chat once, from the first rule that names it."""
    found: dict[tuple[int | str, int | None], Recipient] = {}
    for rule in rules:
        if not rule.fits(facts):
            continue
        for target in rule.to:
            found.setdefault((target.chat, target.thread_id), Recipient(target, rule.name))
        if not rule.goes_on:
            break
    return list(found.values())


def facts_of(event: NewEvent) -> Facts:
    """The properties of an event; the project is ``data.metadata.project``, else the source."""
    named = (event.data.metadata or {}).get("project")
    return Facts(
        type=event.kind,
        category=CATEGORY_OF[event.kind],
        source=event.source,
        severity=event.severity or event.data.severity or Severity.LOW,
        project=named if isinstance(named, str) and named else event.source,
    )


def _like(value: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(_compiled(pattern).match(value) is not None for pattern in patterns)


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> "re.Pattern[str]":
    return re.compile(translate(pattern), re.IGNORECASE)
