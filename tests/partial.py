"""Deselects tests whose server is not installed, and reports a partial run; with CI set the run fails.

Tests need PostgreSQL and the right to mount by their fixtures, other programs by ``pytest.mark.needs(...)``
with any of their names.
"""

import os
import shutil

import pytest

from tests import disks, servers

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
    """Returns a program that the test needs and that is not installed; empty if none is missing."""
    for mark in item.iter_markers("needs"):
        if not any(shutil.which(name) for name in mark.args):
            return str(mark.args[0])
    fixtures = getattr(item, "fixturenames", ())
    if "small_disk" in fixtures and not disks.may_mount():
        return "a mount (as root)"
    needs_postgres = "postgres" in fixtures or "[postgresql" in item.name
    return "postgresql" if needs_postgres and servers.postgres_programs() is None else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing = config.stash[MISSING]
    for program in sorted(missing):
        terminalreporter.section("PARTIAL RUN", red=True)
        terminalreporter.write_line(f"{program} is not installed: tests that need it were not run")
