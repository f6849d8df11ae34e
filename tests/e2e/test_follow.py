"""The README's table "Follow one message": its modules exist, and a message passes its steps."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from tests.bridge.events.test_intake import HELLO, delivered, post
from tests.servers import Sandbox

README = Path(__file__).resolve().parents[2] / "README.md"
SECTION = README.read_text().partition("## Follow one message")[2].partition("\n## ")[0]
#: Each step and its modules, as the table names them.
STEPS = {
    step: [path.removesuffix(".py").replace("/", ".") for path in re.findall(r"`([^`]+\.py)`", places)]
    for step, places in re.findall(r"^\| (\w+) \| (`[^|]+) \|", SECTION, re.MULTILINE)
}
#: The module and the function that do a step.
FUNCTIONS = {
    "accept": ("services.bridge.events.addressed", "parse"),
    "enqueue": ("services.outbox.intake.enqueue", "insert"),
    "pace": ("services.outbox.rate_limit.bot_rate_limiter", "BotRateLimiter"),
    "claim": ("services.outbox.delivery.claims", "claim"),
    "render": ("services.bridge.events.render", "render"),
    "send": ("services.outbox.telegram.sender", "request_of"),
    "settle": ("services.outbox.delivery.settlement", "settle"),
}


def test_the_table_has_every_step_in_order() -> None:
    assert list(STEPS) == list(FUNCTIONS)


@pytest.mark.parametrize("step", FUNCTIONS)
def test_the_modules_of_a_step_exist(step: str) -> None:
    module, function = FUNCTIONS[step]
    assert module in STEPS[step]
    assert callable(getattr(importlib.import_module(module), function))
    for name in STEPS[step]:
        importlib.import_module(name)


async def test_a_message_passes_the_steps(bridge: AsyncClient, sandbox: Sandbox) -> None:
    answer = await post(bridge, HELLO)
    message: Any = await delivered(bridge, answer["message_ids"][0])
    assert [step["state"] for step in message["events"]] == ["queued", "sending", "delivered"]
    (call,) = await sandbox.delivered()
    assert message["telegram_message_ids"] == [call["message_id"]]
    assert call["text"].startswith("✅ Build finished")
