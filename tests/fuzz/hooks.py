"""Changes generated requests: none only waits, half of those with an id name something that exists.

Schemathesis calls hooks by name, and keeps them for the process: :func:`use` says for which service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis

#: Seconds that a parameter may make an answer wait.
LONGEST_WAIT = 55.0


@dataclass(slots=True)
class Changes:
    """What to change in the requests to a service.

    Args:
        ids: values that exist, by the name of a path parameter.
        bodies: bodies that are accepted, by ``METHOD path``.
        turn: counts requests: changes go by turns and not at random, so that a run can be repeated.
        made_valid: ids of requests that a change may have made valid.
    """

    ids: Mapping[str, list[str]] = field(default_factory=dict)
    bodies: Mapping[str, Any] = field(default_factory=dict)
    turn: int = 0
    made_valid: set[str] = field(default_factory=set)


_current = Changes()


def use(changes: Changes) -> None:
    """Changes requests in this way from now on."""
    global _current  # noqa: PLW0603 - the hook has no other way to know
    _current = changes


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: Any) -> None:
    """Changes a request just before it is sent."""
    _current.turn += 1
    # Ten wrong keys from an address block it: each request comes from another one.
    case.headers["X-Forwarded-For"] = _address(_current.turn)
    if isinstance(case.query, dict) and _waits(case.query.get("wait")):
        case.query = {**case.query, "wait": "0"}
        _current.made_valid.add(case.id)
    if _current.turn % 2:
        return
    if isinstance(case.path_parameters, dict):
        known = {name: values for name, values in _current.ids.items() if name in case.path_parameters}
        chosen = {name: values[_current.turn // 2 % len(values)] for name, values in known.items()}
        if chosen:
            case.path_parameters = {**case.path_parameters, **chosen}
    if isinstance(case.body, dict) and case.operation.label in _current.bodies:
        case.body = _current.bodies[case.operation.label]


def is_made_valid(case: Any) -> bool:
    """Whether a change of ours made the request valid, whatever it was generated as."""
    return case.id in _current.made_valid or case.body == _current.bodies.get(case.operation.label, object())


def _address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _waits(value: object) -> bool:
    try:
        return 0 < float(str(value)) <= LONGEST_WAIT
    except ValueError:
        return False
