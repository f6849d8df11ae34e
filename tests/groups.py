"""Sends the tests of a group to one worker: those of a file with ``pytest.mark.xdist_group(...)``.

They share a running suite or stack, which each worker would start for itself. pytest-xdist 3.8 passes the
group to its scheduler in the id of a test, which pytest 9.2 does not let it change; so the scheduler reads
the file.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_GROUP = re.compile(r'^\s*(?:@|pytestmark = )pytest\.mark\.xdist_group\("(\w+)"\)', re.MULTILINE)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Each test by itself, but those of a group together."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0]) or nodeid


@cache
def group_of(file: str) -> str | None:
    """The group of a file's tests; None: it has none."""
    found = _GROUP.search(Path(file).read_text())
    return found[1] if found else None


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """The scheduler of ``--dist loadgroup``."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadgroup" else None
