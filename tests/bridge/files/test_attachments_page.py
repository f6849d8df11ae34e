"""docs/attachments.md: its commands run against a bridge as they are written, and their files arrive."""

import asyncio
import os
import re
from pathlib import Path

import orjson

from tests.bridge.people import ADA, Bridge, People, bridge_of
from tests.conftest import BridgeFactory
from tests.images import png
from tests.servers import KEY, Sandbox, until

PAGE = (Path(__file__).parents[3] / "docs" / "attachments.md").read_text(encoding="utf-8")
WITH_FILE, UPLOAD, NAMING = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


async def run(command: str, bridge: Bridge, folder: Path) -> dict[str, str]:
    """Runs a command as a person would, and returns the JSON that it printed."""
    url = str(bridge.client.base_url).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        *(
            "bash",
            "-ec",
            command.replace("http://127.0.0.1:8080", url).replace("curl ", "curl --fail-with-body -s "),
        ),
        cwd=folder,
        env={**os.environ, "KEY": KEY},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (command, output, errors)
    answer: dict[str, str] = orjson.loads(output)
    return answer


async def test_the_commands_of_the_page_send_their_files(
    bridge_settings: BridgeFactory, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4 a report")
    (tmp_path / "coverage.png").write_bytes(png(64, 64))
    people = People(sandbox)
    async with bridge_of(bridge_settings(data_dir=tmp_path / "data")) as bridge:
        await run(WITH_FILE, bridge, tmp_path)
        uploaded = await run(UPLOAD, bridge, tmp_path)
        await run(NAMING.replace("01a1fd93-…", uploaded["id"]), bridge, tmp_path)

        async def arrived() -> bool:
            messages = await people.messages(ADA)
            names = {message["document"]["file_name"] for message in messages if "document" in message}
            return "report.pdf" in names and any("photo" in message for message in messages)

        await until(arrived)
