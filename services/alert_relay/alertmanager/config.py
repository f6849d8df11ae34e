"""Reads Alertmanager's configuration, as its API returns it. Pure.

Its text comes from outside: what cannot be read is as if it were not there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

#: Alertmanager's default ``repeat_interval``, seconds.
DEFAULT_REPEAT_SECONDS = 4 * 3_600.0
#: Levels of routes; a text may nest far deeper than a person does.
DEEPEST = 50
LONGEST = 1 << 20
#: Characters of matchers that are read: the time to read them grows with the square.
LONGEST_MATCHERS = 2_000

_DURATION = re.compile(r"(\d{1,9})(ms|[smhdwy])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MATCHER = re.compile(
    rf'\s*({_QUOTED}|[^=!~,{{}}"]+?)\s*(=~|!~|!=|=)\s*({_QUOTED}|[^,{{}}"]*?)\s*(?=,|\}}|$)'
)
#: The matchers of one route in a ``groupKey``: ``{a="b",c=~"d"}``.
_LEVEL = re.compile(rf'\{{(?:[^{{}}"]|{_QUOTED})*\}}')

Matcher = tuple[str, str, str]  #: label name, operator, value
RoutePath = tuple[frozenset[Matcher], ...]  #: the matchers of a route and of those above it, the root first


@dataclass(frozen=True, slots=True)
class RepeatIntervals:
    """The ``repeat_interval`` of each route, seconds.

    Args:
        by_route: by the matchers of the route.
        by_receiver: the longest one of each receiver.
    """

    by_route: Mapping[RoutePath, float] = field(default_factory=dict)
    by_receiver: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, group_key: str, receiver: str) -> float:
        """Returns the interval of a webhook's route; of an unknown route the longest one of the receiver."""
        known = self.by_route.get(route_of(group_key))
        return known or self.by_receiver.get(receiver, DEFAULT_REPEAT_SECONDS)


def repeat_intervals(text: str) -> RepeatIntervals:
    """Returns the repeat intervals of a configuration."""
    by_route: dict[RoutePath, float] = {}
    by_receiver: dict[str, float] = {}
    for path, receiver, seconds in _routes(_read(text).get("route"), (), "", DEFAULT_REPEAT_SECONDS):
        by_route[path] = min(seconds, by_route.get(path, seconds))
        by_receiver[receiver] = max(seconds, by_receiver.get(receiver, seconds))
    return RepeatIntervals(by_route, by_receiver)


def has_time_intervals(text: str) -> bool:
    """Whether a route may be muted by a time interval."""
    configuration = _read(text)
    return bool(configuration.get("time_intervals") or configuration.get("mute_time_intervals"))


def route_of(group_key: str) -> RoutePath:
    """Returns the route in a ``groupKey`` such as ``{}/{severity="critical"}:{alertname="Down"}``."""
    group_key = group_key[:LONGEST_MATCHERS]
    path, position = [], 0
    while level := _LEVEL.match(group_key, position):
        path.append(frozenset(_matchers(level[0][1:-1])))
        if not group_key.startswith("/", level.end()):
            break
        position = level.end() + 1
    return tuple(path)


def _read(text: str) -> Mapping[str, Any]:
    try:
        found = yaml.load(text[:LONGEST], Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _routes(
    route: Any, above: RoutePath, receiver: str, seconds: float
) -> Iterator[tuple[RoutePath, str, float]]:
    """Yields path, receiver and interval of a route and of those below it, which inherit the last two."""
    if not isinstance(route, dict) or len(above) >= DEEPEST:
        return
    path = (*above, frozenset(_matchers_of(route)))
    own = route.get("receiver")
    receiver = own if isinstance(own, str) else receiver
    seconds = _seconds(route.get("repeat_interval")) or seconds
    yield path, receiver, seconds
    below = route.get("routes")
    for each in below if isinstance(below, list) else ():
        yield from _routes(each, path, receiver, seconds)


def _matchers_of(route: Mapping[str, Any]) -> Iterator[Matcher]:
    """Yields the matchers of a route, in the present and in the two old forms."""
    texts = route.get("matchers")
    for text in texts if isinstance(texts, list) else [texts]:
        if isinstance(text, str):
            yield from _matchers(text.strip().removeprefix("{").removesuffix("}"))
    for name, operator in (("match", "="), ("match_re", "=~")):
        pairs = route.get(name)
        for label, value in pairs.items() if isinstance(pairs, dict) else ():
            yield str(label), operator, str(value)


def _matchers(text: str) -> Iterator[Matcher]:
    for name, operator, value in _MATCHER.findall(text[:LONGEST_MATCHERS]):
        yield _unquoted(name), operator, _unquoted(value)


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _seconds(text: Any) -> float | None:
    """Seconds of a duration such as ``1h30m``; None if there is none."""
    if not isinstance(text, str) or not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        return None
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
