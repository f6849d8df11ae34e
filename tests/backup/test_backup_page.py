"""docs/backup.md: its commands run as they are written. Those of Docker Compose: ``make compose-check``."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from services.backup import stores
from services.outbox.schema import restore_log
from tests import servers
from tests.backup import page
from tests.e2e.suite import NO_LIMITS, ROOT, program
from tests.ports import free_port
from tests.servers import Sandbox, until

KEY = "cct_the-key-of-the-page"
BACKUP = "./cct backup backups"
VERIFY = "./cct restore --verify backups"
RESTORE = "./cct restore backups"
SCHEDULED = [f"{BACKUP} --keep 14", "docker compose run --rm --build backup"]
IN_PLACE = "./cct restore --in-place 2026-01-31T08:00:00Z"
KEYS = ".venv/bin/python -m services.bridge.keys list"


async def shell(command: str, folder: Path) -> str:
    """Runs a command as a person does: in the repository, with their PATH."""
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}: {output.decode()}"
    return output.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with the repository's programs and data of its own."""
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "api_key").write_text(f"{KEY}\n")
    for name in (".venv", "services"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "cct", folder)
    return folder


def test_the_page_has_these_commands_and_no_others() -> None:
    """A new command needs a test that runs it."""
    makes, *curls = [command for command in page.of_make_run() if command.startswith("curl")]
    assert page.of_make_run() == [BACKUP, VERIFY, RESTORE, makes, *curls, IN_PLACE, KEYS]
    assert len(curls) == 1
    assert page.of_cron() == SCHEDULED
    assert len(page.of_compose()) == 8


async def test_the_commands_do_what_the_page_says(repository: Path, sandbox: Sandbox) -> None:
    backup, verify, restore, look, replay, in_place, keys = page.of_make_run()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = NO_LIMITS | {"BRIDGE_PORT": str(port), "API_KEY": ""}
    unreachable, reachable = ({"TELEGRAM_API_URL": at} for at in ("http://127.0.0.1:9", sandbox.url))
    data = repository / "data"
    async with program("services.bridge", data, url, **environment, **unreachable) as running:
        async with servers.http(url, key=KEY) as client:
            event = {"type": "custom_event", "title": "waits", "chat_id": 1001}
            (message_id,) = (await client.post("/events", json=event)).json()["message_ids"]
        assert "written and verified: backups/cctelegram-" in await shell(backup, repository)
        await running.end(signal.SIGTERM)
    assert "complete" in await shell(verify, repository)
    shutil.rmtree(data)
    assert "1 held, 0 marked" in await shell(restore, repository)
    async with (
        program("services.bridge", data, url, **environment, **reachable),
        servers.http(url, key=KEY) as client,
    ):
        # The page's port is the one of a suite at the default ports.
        assert message_id in await shell(look.replace("localhost:8080", f"127.0.0.1:{port}"), repository)
        assert '"kind":"replay"' in await shell(
            replay.replace("localhost:8080", f"127.0.0.1:{port}"), repository
        )
        await until(lambda: _delivered(client, message_id))
    (text,) = await sandbox.texts()
    assert text.startswith("Perhaps a repetition")
    await shell(keys, repository)
    assert "0 held, 0 marked" in await shell(in_place, repository)
    scheduled, _ = page.of_cron()
    assert "written and verified" in await shell(scheduled, repository)


async def _delivered(client: httpx.AsyncClient, message_id: str) -> bool:
    return bool((await client.get(f"/api/v1/messages/{message_id}")).json()["status"] == "delivered")


def test_what_is_in_an_archive_is_named() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    names = {*stores.DATABASES, *stores.FILES, stores.ARCHIVE, "manifest.json", restore_log.name}
    assert {name for name in names if f"`{name}`" not in text} == set()
