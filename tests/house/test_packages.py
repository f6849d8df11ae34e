"""Rules of packages: a docstring that names every module, few entries, and nouns for names."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"
MOST_ENTRIES = 15
#: Modules whose name ends in -ing, with the reason; all others are named by a noun of the field.
NAMED_BY_A_VERB = {
    "bridge/keys/keyring.py": "a keyring is a set of keys",
    "bridge/keys/signing.py": "the field's word for signatures of requests",
    "contracts/tracking.py": "the answers of the package services.bridge.tracking",
    "outbox/tracing/tail_sampling.py": "the field's word for sampling at a trace's end",
}


def packages() -> list[Path]:
    return sorted(
        init.parent
        for init in SERVICES.rglob("__init__.py")
        if "node_modules" not in init.parts and _names(init.parent)
    )


def _names(package: Path) -> list[str]:
    """The modules and packages in a package, by name."""
    return sorted(_modules(package)) + sorted(_subpackages(package))


def _modules(package: Path) -> Iterator[str]:
    return (file.stem for file in package.glob("*.py") if file.stem not in {"__init__", "__main__"})


def _subpackages(package: Path) -> Iterator[str]:
    return (init.parent.name for init in package.glob("*/__init__.py"))


def _docstring(package: Path) -> str:
    return (package / "__init__.py").read_text(encoding="utf-8")


def unnamed(package: Path) -> list[str]:
    """The names in a package that its docstring does not have as a word."""
    text = _docstring(package)
    return [name for name in _names(package) if not re.search(rf"(?<![\w.]){name}(?!\w)", text)]


def test_the_rules_look_at_something() -> None:
    assert len(packages()) > 20
    assert "worker" in _names(SERVICES / "outbox" / "delivery")


@pytest.mark.parametrize("package", packages(), ids=lambda path: str(path.relative_to(SERVICES)))
def test_a_package_names_every_module_in_it(package: Path) -> None:
    assert unnamed(package) == []


@pytest.mark.parametrize("name", ["outbox", "kit"])
def test_a_package_has_at_most_fifteen_entries(name: str) -> None:
    entries = [
        path.name
        for path in (SERVICES / name).iterdir()
        if path.name not in {"__init__.py", "__pycache__"} and (path.is_dir() or path.suffix == ".py")
    ]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def _named_by_a_verb() -> set[str]:
    return {
        str(file.relative_to(SERVICES))
        for file in SERVICES.rglob("*ing.py")
        if "node_modules" not in file.parts and "migrations" not in file.parts
    }


def test_no_module_is_named_by_a_verb_but_those_with_a_reason() -> None:
    assert sorted(_named_by_a_verb() - NAMED_BY_A_VERB.keys()) == []


def test_the_exceptions_are_still_needed() -> None:
    assert sorted(NAMED_BY_A_VERB.keys() - _named_by_a_verb()) == []
