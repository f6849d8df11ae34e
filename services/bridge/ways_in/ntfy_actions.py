"""ntfy's action buttons, in both of its forms: `view, Open, https://…; …` and JSON. Pure."""

import json
import re
from dataclasses import dataclass
from typing import Any

from services.bridge.ways_in.draft import Given, Place, fault

MOST = 3
_KINDS = ("view", "broadcast", "http", "copy")
_KEY = re.compile(r"\s*([-.\w]+)\s*=\s*")
#: A section: a text in quotes, in which a backslash escapes the quote, or one without commas and semicolons.
_VALUE = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(?!\s*["'])([^,;]*?))\s*([,;]|$)""", re.DOTALL
)
_BY_POSITION = ("action", "label", "url")


@dataclass(frozen=True, slots=True)
class Link:
    """An action that opens a URL; Telegram has no other of ntfy's."""

    label: str
    url: str


def links(given: Given) -> list[Link]:
    """The actions that open a URL; those that ntfy's own app carries out are left out.

    Raises:
        Problem: 422, the actions cannot be read.
    """
    value = given.value
    if isinstance(value, str):
        value = (
            _of_json(value, given.place) if value.lstrip().startswith("[") else _of_text(value, given.place)
        )
    if len(value) > MOST:
        raise fault(given.place, f"only {MOST} actions are taken")
    actions = [_checked(action, given.place) for action in value]
    return [Link(action["label"], action["url"]) for action in actions if action["action"] == "view"]


def _checked(action: Any, place: Place) -> dict[str, str]:
    if not isinstance(action, dict):
        raise fault(place, "an action is an object")
    found = {name: action.get(name, "") for name in _BY_POSITION}
    if not all(isinstance(value, str) for value in found.values()):
        raise fault(place, "action, label and url are texts")
    found["action"] = found["action"].lower()
    if found["action"] not in _KINDS:
        raise fault(place, f"an action is one of {', '.join(_KINDS)}")
    if not found["label"] or (found["action"] == "view" and not found["url"]):
        raise fault(place, "an action needs a label, and `view` a url")
    return found


def _of_json(text: str, place: Place) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(place, f"the actions are not JSON: {error}") from None
    return found if isinstance(found, list) else [found]


def _of_text(text: str, place: Place) -> list[Any]:
    actions: list[dict[str, str]] = []
    at, section, action = 0, 0, dict[str, str]()
    while at < len(text):
        key = _KEY.match(text, at)
        found = _VALUE.match(text, key.end() if key else at)
        if found is None:
            raise fault(place, f"the actions cannot be read from character {at + 1} on")
        name = key[1] if key else _BY_POSITION[section] if section < len(_BY_POSITION) else ""
        if not name:
            raise fault(place, f"write NAME=VALUE from character {at + 1} on")
        action[name] = _unquoted(found)
        section += 1
        at = found.end()
        if found[4] != ",":
            actions.append(action)
            section, action = 0, {}
    return actions + ([action] if action else [])


def _unquoted(found: "re.Match[str]") -> str:
    if found[1] is not None:
        return found[1].replace('\\"', '"')
    return found[2].replace("\\'", "'") if found[2] is not None else found[3]
