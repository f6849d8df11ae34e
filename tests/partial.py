"""A run without PostgreSQL is partial and says so; where everything must be there (CI), it fails."""

import os

import pytest

from tests import servers

PARTIAL = "PostgreSQL is missing (no initdb in /usr/lib/postgresql/*/bin): what needs it was not run"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if servers.postgres_programs() is not None:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(PARTIAL)
    needing = [
        item
        for item in items
        if "postgres" in getattr(item, "fixturenames", ()) or "[postgresql" in item.name
    ]
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if servers.postgres_programs() is None:
        terminalreporter.section("PARTIAL RUN", red=True)
        terminalreporter.write_line(PARTIAL)
