"""docs/bot-commands.md lists the commands of the bot's menu."""

import re
from pathlib import Path

from services.bridge.commands.commands import MENU

PAGE = (Path(__file__).parents[3] / "docs" / "bot-commands.md").read_text(encoding="utf-8")


def test_the_page_lists_every_command_in_the_order_of_the_menu() -> None:
    assert re.findall(r"^\| `/(\w+)` \|", PAGE, re.MULTILINE) == list(MENU)
