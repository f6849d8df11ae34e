"""Fixtures of the kit's tests."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.apps import Live, live


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing about our services."""
    for name in os.environ.keys() - {"PATH", "HOME", "LANG", "TMPDIR", "PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Live]:
    """The tests' own service, behind a real server."""
    async with live(tmp_path) as running:
        yield running
