"""ON_CALL_FILE: YAML with escalation policies, and rules that choose one for an incident."""

from collections.abc import Callable, Hashable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError

from services.alert_relay.channels.settings import ChannelSettings
from services.alert_relay.channels.target import Target
from services.alert_relay.incidents import matchers
from services.alert_relay.incidents.matchers import Matcher
from services.alert_relay.on_call.policies import DEFAULT, Level, Policies, Policy, Rule
from services.contracts import times
from services.contracts.fields import Strict
from services.kit import field_errors
from services.kit.field_errors import ErrorText
from services.kit.settings import StartError

LARGEST_BYTES = 1 << 20
MOST_POLICIES, MOST_RULES, MOST_LEVELS, MOST_TARGETS = 100, 1_000, 10, 20


def _duration(value: Any) -> Any:
    """Returns the seconds of a duration; ``0s`` is none elsewhere."""
    if isinstance(value, str):
        return 0.0 if value.strip() in ("0", "0s") else times.seconds_of(value)
    return value


_Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0, le=times.LONGEST_SECONDS),
    ErrorText("write a duration such as 0s, 90s, 5m or 1h, up to 366 days"),
]
_Targets = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=330), AfterValidator(lambda text: text.strip())], ...],
    Field(min_length=1, max_length=MOST_TARGETS),
]
_Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    ErrorText("a name has letters, digits, '.', '_' and '-', at most 64"),
]
_Match = Annotated[tuple[Annotated[str, StringConstraints(max_length=1_000)], ...], Field(min_length=1)]


class LevelDocument(Strict):
    """A level of escalation."""

    after: _Seconds = 0.0
    targets: _Targets


class RepeatDocument(Strict):
    """How often the levels begin anew."""

    every: _Seconds
    times: Annotated[int, Field(ge=1, le=100)] = 1


class PolicyDocument(Strict):
    """An escalation policy."""

    levels: Annotated[tuple[LevelDocument, ...], Field(min_length=1, max_length=MOST_LEVELS)]
    repeat: RepeatDocument | None = None
    receipt_within: _Seconds = 60.0
    fallback: Annotated[tuple[str, ...], Field(max_length=MOST_TARGETS)] = ()


class RuleDocument(Strict):
    """Gives incidents a policy."""

    match: _Match
    policy: _Name


class OnCallDocument(Strict):
    """The whole file."""

    policies: Annotated[dict[_Name, PolicyDocument], Field(min_length=1, max_length=MOST_POLICIES)]
    routes: Annotated[tuple[RuleDocument, ...], Field(max_length=MOST_RULES)] = ()


_document = TypeAdapter(OnCallDocument)


def read_policies(settings: ChannelSettings) -> Policies | None:
    """Returns the policies of ON_CALL_FILE; None: it is not set.

    Raises:
        StartError: the file cannot be read, or is wrong.
    """
    if settings.on_call_file is None:
        return None
    return load(settings.on_call_file, settings.alert_fallback_targets, settings.channels.check)


def load(path: Path, others: tuple[Target, ...], check: Callable[[Target], None]) -> Policies:
    """Reads the file.

    Args:
        path: of the file.
        others: targets of the fallback of policies that name none.
        check: raises ValueError for a target whose channel is not set up.

    Raises:
        StartError: it cannot be read, or is wrong; one line for each fault.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_BYTES + 1)
        return read(text.decode(), others, check)
    except OSError as error:
        raise StartError(f"ON_CALL_FILE: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise StartError(f"ON_CALL_FILE: {path} is not UTF-8 text") from None
    except ValueError as error:
        lines = (f"ON_CALL_FILE: {line}" for line in str(error).splitlines())
        raise StartError("\n".join(lines)) from None


def read(text: str, others: tuple[Target, ...], check: Callable[[Target], None]) -> Policies:
    """Returns the policies of a text.

    Raises:
        ValueError: it is wrong; one line for each fault, which names its place.
    """
    if len(text) > LARGEST_BYTES:
        raise ValueError("the file has more than 1 MiB")
    try:
        found = _document.validate_python(yaml.load(text, Loader=_Loader))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"this is no YAML{line}: {getattr(error, 'problem', error)}") from None
    except ValidationError as error:
        raise ValueError("\n".join(field_errors.lines(error))) from None
    faults: list[str] = []
    made = _Reader(faults, check)
    policies = {name: made.policy(name, each) for name, each in found.policies.items()}
    rules = tuple(made.rule(number, each, policies) for number, each in enumerate(found.routes))
    if DEFAULT not in policies:
        faults.append("policies: add one with the name default, for the incidents that no route matches")
    if faults:
        raise ValueError("\n".join(faults))
    return Policies(policies, rules, others)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice: YAML would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is written twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Reader:
    """Makes values of the document, and collects what is wrong with it."""

    def __init__(self, faults: list[str], check: Callable[[Target], None]) -> None:
        self._faults = faults
        self._check = check

    def policy(self, name: str, given: PolicyDocument) -> Policy:
        where = f"policies.{name}"
        levels = tuple(
            Level(each.after, self._targets(f"{where}.levels[{number}].targets", each.targets))
            for number, each in enumerate(given.levels)
        )
        if levels[0].after:
            self._faults.append(f"{where}.levels[0].after: the first level is reached at once; write 0s")
        if any(later.after <= earlier.after for earlier, later in pairwise(levels)):
            self._faults.append(f"{where}.levels: each level must have a later time than the one before")
        repeat = given.repeat
        if repeat is not None and repeat.every <= levels[-1].after:
            self._faults.append(f"{where}.repeat.every: this must be later than the last level")
        return Policy(
            levels,
            repeat.every if repeat else 0.0,
            repeat.times if repeat else 0,
            given.receipt_within,
            self._targets(f"{where}.fallback", given.fallback),
        )

    def rule(self, number: int, given: RuleDocument, policies: dict[str, Policy]) -> Rule:
        where = f"routes[{number}]"
        if given.policy not in policies:
            hint = field_errors.did_you_mean(given.policy, policies)
            self._faults.append(f"{where}.policy: there is no policy {given.policy!r}{hint}")
        return Rule(self._matchers(where, given.match), given.policy)

    def _matchers(self, where: str, texts: tuple[str, ...]) -> tuple[Matcher, ...]:
        try:
            return matchers.parse_all(texts)
        except ValueError as error:
            self._faults.append(f"{where}.match: {error}")
            return ()

    def _targets(self, where: str, texts: tuple[str, ...]) -> tuple[Target, ...]:
        found = []
        for number, text in enumerate(texts):
            try:
                target = Target.parse(text)
                self._check(target)
                found.append(target)
            except ValueError as error:
                self._faults.append(f"{where}[{number}]: {error}")
        return tuple(dict.fromkeys(found))
