"""A run without a server that its tests need is partial and says so; in CI, which has all, it fails.

PostgreSQL is asked for by fixture; other programs by ``pytest.mark.needs(...)`` with any of their names.
"""

import os
import shutil

import pytest

from tests import servers

MISSING = pytest.StashKey[frozenset[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): a program that the test starts, by any of its names")
    config.stash[MISSING] = frozenset()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lacking = {item: program for item in items if (program := _missing_of(item))}
    if not lacking:
        return
    config.stash[MISSING] |= frozenset(lacking.values())
    if os.environ.get("CI"):
        raise pytest.UsageError(f"not installed: {', '.join(sorted(set(lacking.values())))}")
    config.hook.pytest_deselected(items=list(lacking))
    items[:] = [item for item in items if item not in lacking]


def _missing_of(item: pytest.Item) -> str:
    """The program that the test needs and the machine has not; empty when it has all."""
    for mark in item.iter_markers("needs"):
        if not any(shutil.which(name) for name in mark.args):
            return str(mark.args[0])
    needs_postgres = "postgres" in getattr(item, "fixturenames", ()) or "[postgresql" in item.name
    return "postgresql" if needs_postgres and servers.postgres_programs() is None else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing = config.stash[MISSING]
    for program in sorted(missing):
        terminalreporter.section("PARTIAL RUN", red=True)
        terminalreporter.write_line(f"{program} is not installed: what needs it was not run")
