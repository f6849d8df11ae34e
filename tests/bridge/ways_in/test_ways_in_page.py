"""docs/ways-in.md: every command in it runs against a bridge, and each sends a message."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, Bridge, bridge_of
from tests.conftest import BridgeFactory
from tests.ports import free_port
from tests.servers import KEY

PAGE = (Path(__file__).parents[3] / "docs" / "ways-in.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in re.sub(r"\\\n\s*", "", block).splitlines()
]


@pytest.fixture
def settings(bridge_settings: BridgeFactory) -> BridgeSettings:
    return bridge_settings(telegram_allowed_users=[ADA], smtp_port=free_port())


async def run(line: str, bridge: Bridge, settings: BridgeSettings) -> str:
    """Runs a line as a person would, and returns what it printed."""
    url = str(bridge.client.base_url).rstrip("/")
    environment = {
        **os.environ,
        "BRIDGE_URL": url,
        "KEY": KEY,
    }
    line = line.replace("smtp://localhost:2525", f"smtp://127.0.0.1:{settings.smtp_port}")
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-ec",
        f"set -o pipefail; {line}",
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (line, output, errors)
    return output.decode()


@pytest.mark.parametrize("line", COMMANDS)
async def test_every_command_of_the_page_sends_a_message(settings: BridgeSettings, line: str) -> None:
    async with bridge_of(settings) as bridge:
        printed = await run(line, bridge, settings)
        found = (await bridge.client.get("/api/v1/messages")).json()["items"]
        assert len(found) == 1, printed
