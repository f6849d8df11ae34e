"""docs/sending.md: every example in it is delivered, and shown as the page says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from tests.bridge.events.test_intake import delivered, post
from tests.servers import Sandbox

PAGE = (Path(__file__).parents[3] / "docs" / "sending.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def events(section: str) -> list[dict[str, Any]]:
    """The examples of a section: whole events, as JSON."""
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```\n", SECTIONS[section], re.DOTALL)]


async def shown(bridge: AsyncClient, sandbox: Sandbox, event: dict[str, Any]) -> list[dict[str, Any]]:
    """What is in the chat after an event: the messages as Telegram has them."""
    accepted = await post(bridge, event)
    await delivered(bridge, accepted["message_ids"][0])
    return [call["message"] for call in await sandbox.delivered(1001)]


def parts_of(message: dict[str, Any], kind: str) -> list[str]:
    units = message["text"].encode("utf-16-le")
    return [
        units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le")
        for e in message["entities"]
        if e["type"] == kind
    ]


@pytest.mark.parametrize("number", [0, 1])
async def test_the_examples_of_formats_are_shown_with_their_entities(
    bridge: AsyncClient, sandbox: Sandbox, number: int
) -> None:
    (message,) = await shown(bridge, sandbox, events("Format")[number])
    assert "All 214 tests pass" in parts_of(message, "bold")
    assert parts_of(message, "text_link") == ["the log"]
    assert parts_of(message, "blockquote") == ["Well done"]
    assert parts_of(message, "spoiler")
    assert "**" not in message["text"]
    assert "<" not in message["text"]


async def test_the_examples_of_previews_have_the_options_of_telegram(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    for event in events("Preview of a link"):
        shown_now = await shown(bridge, sandbox, event)
    assert [message["link_preview_options"] for message in shown_now] == [
        {"is_disabled": True},
        {"url": "https://ci.example/7", "prefer_large_media": True, "show_above_text": True},
    ]


async def test_the_example_of_protected_content_cannot_be_forwarded(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    (event,) = events("Protected content")
    (message,) = await shown(bridge, sandbox, event)
    assert message["has_protected_content"] is True


async def test_the_example_of_a_pin_is_pinned(bridge: AsyncClient, sandbox: Sandbox) -> None:
    (event,) = events("Pin")
    await shown(bridge, sandbox, event)
    assert [call["pinned"] for call in await sandbox.log() if call.get("method") == "pinChatMessage"] == [
        True
    ]


async def test_the_example_of_buttons_has_its_rows(bridge: AsyncClient, sandbox: Sandbox) -> None:
    (event,) = events("Buttons")
    (message,) = await shown(bridge, sandbox, event)
    rows = message["reply_markup"]["inline_keyboard"]
    assert [[button["text"] for button in row] for row in rows] == [["Open the log"], ["Retry", "Ignore"]]
