"""'Follow one message', as the packages' docstrings tell it: the path is run, and its stations exist."""

import importlib
import re
from types import ModuleType
from typing import Any

import pytest
from httpx import AsyncClient

import services.bridge
import services.outbox
from services.bridge.events import accept, render
from services.bridge.tracking import message_view
from services.outbox.chats import chat_queue
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.intake import enqueue
from services.outbox.rate_limit import limits
from services.outbox.telegram import errors, sender
from tests.bridge.events.test_intake import HELLO, delivered, post
from tests.servers import Sandbox


def told(package: ModuleType) -> list[tuple[str, str]]:
    """The stations of the docstring: (module, verb)."""
    assert package.__doc__ is not None
    assert "Follow one message:" in package.__doc__
    steps = package.__doc__.partition("Follow one message:")[2]
    return re.findall(r"^ {4}(\w+)/?  +\(?(\w+)", steps, re.MULTILINE)


@pytest.mark.parametrize("package", [services.bridge, services.outbox], ids=lambda package: package.__name__)
def test_every_station_is_a_module(package: ModuleType) -> None:
    stations = told(package)
    assert len(stations) >= 6
    for module, _ in stations:
        place = f"{package.__name__}.{module}" if module != "outbox" else "services.outbox"
        importlib.import_module(place)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (accept, "submission"),
        (enqueue, "insert"),
        (limits, "after_send"),
        (claims, "claim"),
        (render, "render"),
        (sender, "request_of"),
        (errors, "translate"),
        (retry_policy, "decide"),
        (settlement, "settle"),
        (chat_queue, "release"),
        (message_view, "whole"),
    ],
)
def test_what_the_path_is_made_of_is_there(module: ModuleType, function: str) -> None:
    assert callable(getattr(module, function))


VERBS = ["queued", "sending", "delivered"]


async def test_one_message_goes_the_way_that_is_told(bridge: AsyncClient, sandbox: Sandbox) -> None:
    taken = await post(bridge, HELLO)
    life: Any = await delivered(bridge, taken["message_ids"][0])
    assert [step["state"] for step in life["events"]] == VERBS
    (call,) = await sandbox.delivered()
    assert life["telegram_message_ids"] == [call["message_id"]]
    assert call["text"].startswith("✅ Build finished")
    verbs = {verb for _, verb in told(services.outbox)}
    assert {"enqueue", "pace", "claim", "render", "send", "decide", "settle"} <= verbs
