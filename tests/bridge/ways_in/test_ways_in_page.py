"""docs/ways-in.md: every command in it runs against a bridge, and each sends a message."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.bridge.people import Bridge
from tests.servers import KEY

PAGE = (Path(__file__).parents[3] / "docs" / "ways-in.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in re.sub(r"\\\n\s*", "", block).splitlines()
]


async def run(line: str, bridge: Bridge) -> str:
    """Runs a line as a person would, and returns what it printed."""
    environment = {**os.environ, "BRIDGE_URL": str(bridge.client.base_url).rstrip("/"), "KEY": KEY}
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
async def test_every_command_of_the_page_sends_a_message(quick: Bridge, line: str) -> None:
    printed = await run(line, quick)
    found = (await quick.client.get("/api/v1/messages")).json()["items"]
    assert len(found) == 1, printed
