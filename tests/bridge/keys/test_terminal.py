"""Keys at the terminal: the command as people run it, beside a bridge that runs."""

import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from services.bridge import app as bridge_app
from services.bridge.keys import keyring
from services.kit.settings import StartError
from tests import servers
from tests.bridge.keys.test_api import EVENT, signed
from tests.conftest import BridgeFactory
from tests.forking import Programs
from tests.servers import KEY

pytestmark = pytest.mark.xdist_group("programs")


class Terminal:
    def __init__(self, programs: Programs, folder: Path, database_url: str) -> None:
        self._programs = programs
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(folder),
            "DATABASE_URL": database_url,
            "API_KEY": KEY,
        }

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self._programs.run("services.bridge.keys", *words, environment=self._environment)

    def create(self, *words: str) -> dict[str, Any]:
        done = self.run("create", *words)
        assert done.returncode == 0, done.stderr
        return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith("("))


@pytest.fixture
def terminal(programs: Programs, tmp_path: Path, database_url: str) -> Terminal:
    return Terminal(programs, tmp_path, database_url)


async def test_a_key_made_and_revoked_at_the_terminal_counts_in_a_running_bridge(
    terminal: Terminal, bridge: httpx.AsyncClient
) -> None:
    key = terminal.create("ci", "--scope", "events:write", "--scope", "messages:read")
    assert key["scopes"] == "events:write messages:read"
    headers = {"Authorization": f"Bearer {key['secret']}"}

    async def status(wanted: int) -> bool:
        return (await bridge.get("/api/v1/messages", headers=headers)).status_code == wanted

    await servers.until(lambda: status(200), patience=5)
    assert terminal.run("revoke", "ci").stdout == f"revoked {key['id']} ci\n"
    await servers.until(lambda: status(401), patience=5)
    listed = terminal.run("list").stdout
    assert key["id"] in listed
    assert "revoked" in listed
    assert key["secret"] not in listed


async def test_a_key_made_before_the_first_start_opens_the_bridge(
    terminal: Terminal, bridge_settings: BridgeFactory, database_url: str
) -> None:
    key = terminal.create("hook", "--signing", "--days", "30")
    settings = bridge_settings(database_url=database_url)
    body = orjson.dumps(EVENT)
    async with servers.client_of(bridge_app.create_app, settings) as bridge:
        taken = await bridge.post("/events", content=body, headers=signed(key, body))
    assert taken.status_code == 202


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "a b"), "letters, digits"),
        (("create", "ci", "--scope", "moon"), "moon"),
        (("create", "ci", "--days", "0"), "above 0"),
        (("create", "ci", "--signing", "--scope", "messages:read"), "exactly the scope events:write"),
        (("create", "default"), "There is a key named default"),
        (("revoke", "nobody"), "no key is named nobody"),
        (("dance",), "invalid choice"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    programs: Programs, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = Terminal(programs, tmp_path, f"sqlite:///{tmp_path / 'bridge.db'}").run(*words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_short_signing_master_stops_the_start(bridge_settings: BridgeFactory) -> None:
    with pytest.raises(StartError, match="SIGNING_MASTER: 32 characters"):
        keyring.signing_master(bridge_settings(signing_master="short"))
