"""Fixtures of the kit's tests."""

import io
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.kit import logs
from tests.kit.apps import Live, live


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing about our services."""
    for name in os.environ.keys() - {"PATH", "HOME", "LANG", "TMPDIR", "PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)


class Lines:
    """The log lines written since the test began."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.all[-1]

    def of(self, event: str) -> dict[str, Any]:
        (line,) = [line for line in self.all if line["event"] == event]
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The real pipeline, written to memory; what was configured before comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    before = structlog.get_config()
    logs.configure("INFO")
    found = Lines()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(found.stream)
    yield found
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


@pytest.fixture
async def service(tmp_path: Path, lines: Lines) -> AsyncIterator[Live]:
    """The tests' own service, behind a real server."""
    async with live(tmp_path) as running:
        yield running
