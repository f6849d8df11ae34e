"""`.env.example` and the settings classes agree, in both directions."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

import services
from services.kit.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$")


@dataclass(frozen=True)
class Entry:
    """A variable in `.env.example`."""

    comment: str
    value: str
    active: bool


def shown() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    before = ""
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if found := LINE.match(line):
            name, value = found.groups()
            assert name not in entries, f"{name} stands in .env.example twice"
            entries[name] = Entry(before.removeprefix("#").strip(), value, active=not line.startswith("#"))
        before = line
    return entries


def settings_classes() -> list[type[ServiceSettings]]:
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if module.name.endswith(".settings"):
            importlib.import_module(module.name)
    return [each for each in _below(ServiceSettings) if each.__module__.startswith("services.")]


def _below(parent: type[ServiceSettings]) -> Iterator[type[ServiceSettings]]:
    for child in parent.__subclasses__():
        yield child
        yield from _below(child)


def read() -> dict[str, list[tuple[str, FieldInfo]]]:
    """Returns the fields that read each variable, with their class."""
    variables: dict[str, list[tuple[str, FieldInfo]]] = {}
    for each in settings_classes():
        for name, field in each.model_fields.items():
            if name == "port" and field.validation_alias is None:
                continue  # a base class has no port
            variable = str(field.validation_alias or name).upper()
            variables.setdefault(variable, []).append((f"{each.__name__}.{name}", field))
    return variables


def composed() -> set[str]:
    """Returns the variables that compose.yaml reads."""
    return set(
        re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]*)", (ROOT / "compose.yaml").read_text(encoding="utf-8"))
    )


def as_written(default: Any) -> str:
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def test_every_variable_that_a_service_reads_is_shown() -> None:
    missing = {variable: [where for where, _ in fields] for variable, fields in read().items()}
    for variable in shown():
        missing.pop(variable, None)
    assert missing == {}, "these are missing in .env.example"


def test_every_variable_that_compose_takes_is_shown() -> None:
    assert composed() - shown().keys() == set(), "these of compose.yaml are missing in .env.example"


def test_every_variable_that_is_shown_is_read() -> None:
    stale = shown().keys() - read().keys() - composed()
    assert stale == set(), "no service reads these variables of .env.example"


def test_every_comment_is_the_field_s_own_description() -> None:
    fields = read()
    wrong = {
        variable: f"{entry.comment!r} is none of {[field.description for _, field in fields[variable]]}"
        for variable, entry in shown().items()
        if variable in fields and entry.comment not in {field.description for _, field in fields[variable]}
    }
    assert wrong == {}


def test_every_default_is_the_field_s_own_and_commented_out() -> None:
    defaults = {
        variable: {as_written(field.default) for _, field in fields} for variable, fields in read().items()
    }
    wrong = {
        variable: f"{entry.value!r} is none of {defaults[variable]}"
        for variable, entry in shown().items()
        if variable in defaults and entry.value not in defaults[variable]
    }
    assert wrong == {}
    assert [variable for variable, entry in shown().items() if entry.active] == []


def test_every_field_has_a_description() -> None:
    bare = [
        f"{each.__name__}.{name}"
        for each in settings_classes()
        for name, field in each.model_fields.items()
        if not field.description
    ]
    assert bare == []


def test_every_service_listens_on_a_port_of_its_own() -> None:
    ports = {
        each.__name__: each.model_fields["port"]
        for each in settings_classes()
        if (ROOT / f"{each.__module__.replace('.', '/')}.py").with_name("__main__.py").exists()
        and each.__module__.endswith(".settings")
    }
    assert len(ports) >= 5
    assert len({port.default for port in ports.values()}) == len(ports)
    assert len({port.validation_alias for port in ports.values()}) == len(ports)
