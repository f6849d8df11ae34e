"""What `make run` prints for the person at the terminal: its settings, its bot, why Telegram refuses it."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.servers import Sandbox
from tests.services import suite
from tests.services.suite import Suite

pytestmark = pytest.mark.xdist_group("suite")

TOKEN = "2000000002:a-token-that-the-sandbox-learns-later"


async def until_line(running: Suite, text: str) -> str:
    """The next printed line that contains the text."""
    output = running.process.stdout
    assert output is not None
    async with asyncio.timeout(60):
        while line := await asyncio.to_thread(output.readline):
            if text in line:
                return line
    raise AssertionError(f"it ended without a line that contains: {text}")


async def test_a_refused_bot_is_named_with_the_remedy_and_later_by_its_name(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.env"
    settings.write_text(
        f"# of this installation\nexport TELEGRAM_BOT_TOKEN='{TOKEN}'\nTELEGRAM_CHAT_IDS=1001\n"
        f"TELEGRAM_API_URL=http://127.0.0.1:9\n"
    )
    running = await asyncio.to_thread(
        suite.start,
        tmp_path / "data",
        tmp_path / "errors",
        arguments=["--env-file", str(settings)],
        TELEGRAM_API_URL=sandbox.url,  # of the environment: it has precedence over the file
    )
    try:
        assert running.printed.startswith(f"Settings are read from {settings}.\n")
        refused = await until_line(running, "bot: ")
        assert refused.startswith(
            "  bot: Telegram refuses the bot's token (401); take the token from @BotFather"
        )
        assert TOKEN not in refused
        await sandbox.post("/bots", {"token": TOKEN})
        assert (await until_line(running, "bot: ")).startswith("  bot: @sandbox_2000000002_bot")
    finally:
        suite.end(running)


async def test_without_a_token_it_says_that_the_sandbox_takes_telegram_s_place(tmp_path: Path) -> None:
    running = await asyncio.to_thread(suite.start, tmp_path / "data", tmp_path / "errors")
    try:
        assert "Settings are read" not in running.printed
        assert "set TELEGRAM_BOT_TOKEN, or run cct setup" in await until_line(running, "bot: ")
    finally:
        suite.end(running)


async def test_without_a_chat_it_prints_the_link_that_chooses_one(sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.post("/bots", {"token": TOKEN})
    running = await asyncio.to_thread(
        suite.start,
        tmp_path / "data",
        tmp_path / "errors",
        TELEGRAM_API_URL=sandbox.url,
        TELEGRAM_BOT_TOKEN=TOKEN,
    )
    try:
        line = await until_line(running, "https://t.me/")
        found = re.search(r"open https://t\.me/sandbox_2000000002_bot\?start=(\S+)", line)
        assert found, line
        await sandbox.post("/chats/1001/say", {"text": f"/start {found[1]}"})
        assert await until_line(running, "chat: it is chosen, and gets the messages")
    finally:
        suite.end(running)
