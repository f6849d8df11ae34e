"""Matchers of labels, in Alertmanager's syntax. Pure.

A matcher is ``name=value``, ``name!=value``, ``name=~regex`` or ``name!~regex``; a value may stand in double
quotes. A regular expression matches whole values. It runs in RE2, as in Alertmanager: the same syntax, and
time that is linear in the length of the value, whatever a person writes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import re2

LONGEST_NAME = 200
LONGEST_VALUE = 500
MOST_MATCHERS = 20
#: Bytes that a compiled expression may need; RE2 refuses larger ones.
_REGEX_BYTES = 1 << 20

_MATCHER = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!~|!=|=)(.*)', re.DOTALL)
_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
#: Characters of a wrong matcher that an error shows.
_SHOWN = 100
_SYNTAX = 'write service=api, service!=api, service=~"api|web" or service!~"test-.*"'


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; an absent label has the value ``""``.

    Args:
        name: of the label.
        value: that the label has, or a regular expression for it.
        regex: whether ``value`` is a regular expression.
        negated: whether the label must not have it.
    """

    name: str
    value: str
    regex: bool = False
    negated: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self._is(labels.get(self.name, "")) is not self.negated

    def _is(self, value: str) -> bool:
        return _compiled(self.value).fullmatch(value) is not None if self.regex else value == self.value

    def __str__(self) -> str:
        """The matcher as :func:`parse` reads it."""
        operator = ("!" if self.negated else "=") + ("~" if self.regex else "=" if self.negated else "")
        name = self.name if _PLAIN_NAME.fullmatch(self.name) else _quoted(self.name)
        return f"{name}{operator}{_quoted(self.value)}"


def parse(text: str) -> Matcher:
    """Reads one matcher.

    Raises:
        ValueError: it is none; the message says how to write one.
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f"{_shown(text)} is no matcher: {_SYNTAX}")
    name, operator, value = _unquoted(found[1]), found[2], _unquoted(found[3].strip())
    if not 1 <= len(name) <= LONGEST_NAME or len(value) > LONGEST_VALUE:
        raise ValueError(
            f"{_shown(text)}: a name has 1 to {LONGEST_NAME} characters, and a value up to {LONGEST_VALUE}"
        )
    matcher = Matcher(name, value, regex="~" in operator, negated=operator[0] == "!")
    if matcher.regex:
        _check(matcher)
    return matcher


def parse_all(texts: Sequence[str]) -> tuple[Matcher, ...]:
    """Reads the matchers of one window, each once.

    Raises:
        ValueError: one is wrong, there are none or too many, or all of them match an alert without labels.
    """
    matchers = tuple(dict.fromkeys(parse(text) for text in texts))
    if not 1 <= len(matchers) <= MOST_MATCHERS:
        raise ValueError(f"write 1 to {MOST_MATCHERS} matchers, such as service=api")
    if all(each.matches({}) for each in matchers):
        raise ValueError(
            "every matcher matches an absent label; add one that does not, such as"
            ' alertname=~".+" for all alerts'
        )
    return matchers


def match_all(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether the labels fulfil every matcher."""
    return all(each.matches(labels) for each in matchers)


def _check(matcher: Matcher) -> None:
    try:
        _compiled(matcher.value)
    except re2.error as error:
        reason = str(error.args[0]) if error.args else "RE2 cannot read it"
        raise ValueError(f"the regular expression {_shown(matcher.value)} is invalid: {reason}") from None


@lru_cache(maxsize=1_000)
def _compiled(value: str) -> "re2._Regexp[str]":
    options = re2.Options()
    options.max_mem = _REGEX_BYTES
    options.log_errors = False
    # As in Prometheus: a dot matches a line break too.
    options.dot_nl = True
    return re2.compile(value, options)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    found = _QUOTED.fullmatch(text)
    if found is None:
        return text
    return _ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else _kept(escape[1]), found[1])


def _kept(character: str) -> str:
    """Of an escape: the character; a backslash before another one is part of a regular expression."""
    return character if character in '"\\' else "\\" + character


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
