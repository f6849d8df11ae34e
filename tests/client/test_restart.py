"""Waiting goes on while the bridge restarts: nothing is missed, and nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.bridge.settings import BridgeSettings
from services.client.errors import NotAuthorizedError, NotReachedError
from services.client.stream import StreamItem
from services.contracts.approvals import NewApproval
from services.contracts.events import NewEvent
from tests.bridge.people import ADA, People, bridge_of
from tests.client.both import Either, either
from tests.conftest import BridgeFactory
from tests.ports import free_port
from tests.servers import KEY

pytestmark = pytest.mark.parametrize("kind", ["Client", "AsyncClient"])


@pytest.fixture
def settings(bridge_settings: BridgeFactory) -> BridgeSettings:
    """A bridge that has the same port and data after a restart."""
    return bridge_settings(port=free_port(), telegram_chat_ids=[ADA], stream_heartbeat_seconds=0.2)


def url_of(settings: BridgeSettings) -> str:
    return f"http://127.0.0.1:{settings.port}"


async def test_an_answer_is_waited_for_over_a_restart(
    kind: str, settings: BridgeSettings, people: People
) -> None:
    async with either(kind, url_of(settings), KEY) as cct:
        async with bridge_of(settings) as bridge:
            asked = await cct.ask(NewApproval(title="Deploy 1.4?", prompt="make deploy"))
            waiting = asyncio.create_task(cct.answer(asked.id))
            question = await people.question(ADA)
            await bridge.until_waiting()
        assert not waiting.done()
        async with bridge_of(settings):
            await people.tap(question, "Approve")
            closed = await waiting
    assert closed.decision.option == "approve"


async def test_the_stream_goes_on_over_a_restart_and_misses_nothing(
    kind: str, settings: BridgeSettings
) -> None:
    async with (
        either(kind, url_of(settings), KEY) as cct,
        aclosing(cct.items("stream", status=["delivered"])) as items,
    ):
        async with bridge_of(settings):
            await until_kind(items, "ready")
            await cct.ended([await send(cct, "First")], within=30)
            assert await until_change(items, "First") == ["First"]
            lost = asyncio.create_task(until_kind(items, "lost"))
        await lost
        # The stream connects again by itself: what happened before that is in it too.
        async with bridge_of(settings):
            await cct.ended([await send(cct, "Second")], within=30)
            assert await until_change(items, "Second") == ["Second"]


async def test_a_stream_begins_after_the_last_item_that_one_has(kind: str, settings: BridgeSettings) -> None:
    async with bridge_of(settings), either(kind, url_of(settings), KEY) as cct:
        async with aclosing(cct.items("stream")) as items:
            position = (await until_kind(items, "ready")).id
        await cct.ended([await send(cct, "Missed")], within=30)
        async with aclosing(cct.items("stream", after=position, status=["delivered"])) as items:
            assert await until_change(items, "Missed") == ["Missed"]


async def send(cct: Either, text: str) -> str:
    accepted = await cct.send(NewEvent(type="custom_event", title=text))
    return str(accepted.message_ids[0])


async def until_kind(items: AsyncIterator[StreamItem], kind: str) -> StreamItem:
    async for item in items:
        if item.kind == kind:
            return item
    raise AssertionError(f"the stream ended without {kind}")


async def until_change(items: AsyncIterator[StreamItem], title: str) -> list[str]:
    """The titles of the changes up to the one with this title."""
    titles = []
    async for item in items:
        if item.change is not None:
            titles.append(item.change.title)
            if item.change.title == title:
                return titles
    raise AssertionError(f"the stream ended with {titles}")


async def test_a_wrong_key_ends_the_stream_at_once(kind: str, settings: BridgeSettings) -> None:
    async with bridge_of(settings), either(kind, url_of(settings), "cct_wrong-key") as cct:
        with pytest.raises(NotAuthorizedError):
            assert [item async for item in cct.items("stream")] == []


async def test_a_stream_that_cannot_begin_says_so(kind: str, settings: BridgeSettings) -> None:
    async with either(kind, url_of(settings), KEY, patience=0) as cct:
        with pytest.raises(NotReachedError):
            assert [item async for item in cct.items("stream")] == []
