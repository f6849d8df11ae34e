"""One running suite for the tests of `cct`, and the command in this process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Chats, Terminal
from tests.services import suite as suites
from tests.services.suite import Suite

#: Grace is notified of an incident that stays for an hour.
ON_CALL = """
policies:
  default:
    levels:
      - targets: [telegram:1001]
      - {after: 1h, targets: [telegram:1002]}
"""


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite whose sandbox has no limits, and in which Ada and Grace may answer."""
    folder = tmp_path_factory.mktemp("suite")
    on_call = folder / "on-call.yaml"
    on_call.write_text(ON_CALL)
    running = suites.start(
        folder / "data",
        folder / "errors",
        SANDBOX_LIMITS="false",
        TELEGRAM_ALLOWED_USERS="1001,1002",
        ON_CALL_FILE=str(on_call),
    )
    yield running
    assert running.process.poll() is None, (folder / "errors").read_text()
    suites.end(running)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables and no configuration file of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("CCT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "no-suite"))
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def cct(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The command; it finds the suite by its data folder."""
    monkeypatch.setenv("DATA_DIR", str(suite.data))
    return Terminal()


@pytest.fixture
def chats(suite: Suite) -> Iterator[Chats]:
    with Chats(suite.urls["telegram-sandbox"]) as people:
        yield people
