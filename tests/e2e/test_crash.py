"""kill -9 and SIGTERM while a thousand messages are in flight: nothing that was accepted is lost.

The sandbox is a process of its own, so that its log tells what really arrived.
"""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.suite import Suite, finished, lives, post_to_each, sandbox_program
from tests.servers import Sandbox, until

CHATS = range(100_000, 101_000)
#: Long enough that some are under way at every moment.
SLOW = {"kind": "latency", "seconds": 0.02, "seconds_max": 0.1, "times": None}
#: A chat that Telegram does not answer for, so that a kill never comes too late.
HANGS = {"kind": "hang", "seconds": 60, "chat_ids": [CHATS[-1]], "times": None}


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with sandbox_program(tmp_path / "telegram") as sandbox:
        await sandbox.post("/chats/range", {"first_id": CHATS.start, "count": len(CHATS)})
        await sandbox.faults(SLOW)
        yield sandbox


async def some_have_arrived(sandbox: Sandbox, number: int) -> bool:
    return len(await sandbox.delivered()) >= number


async def copies(sandbox: Sandbox) -> Counter[int]:
    """How often each chat has its message; of a duplicate the second says so."""
    return Counter(call["chat_id"] for call in await sandbox.delivered())


async def life_by_chat(client: httpx.AsyncClient, accepted: dict[str, int], chats: list[int]) -> list[Any]:
    wanted = [message_id for message_id, chat_id in accepted.items() if chat_id in chats]
    return await lives(client, wanted)


async def test_killed_with_a_thousand_messages_in_flight_none_is_lost(
    telegram: Sandbox, tmp_path: Path
) -> None:
    suite = Suite(tmp_path / "data", telegram)
    await telegram.faults(HANGS)
    async with suite.running() as (process, client):
        accepted = await post_to_each(client, CHATS)
        await until(lambda: some_have_arrived(telegram, 200))
        await process.end(signal.SIGKILL)
    before = await copies(telegram)
    assert 200 <= len(before) < len(CHATS)
    await telegram.no_faults()
    await telegram.faults(SLOW)

    async with suite.running() as (_, client):
        stats = await finished(client, len(accepted))
        arrived = await copies(telegram)
        assert set(arrived) == set(CHATS)
        repeated = sorted(chat_id for chat_id, number in arrived.items() if number > 1)
        unknown = await _unknown(client)
        # Only what was under way at the kill was sent again, each once, and it says so.
        assert max(arrived.values()) <= 2
        assert set(repeated) <= unknown
        assert len(unknown) <= 64
        # Each was sent again and answered: no outcome stayed unknown.
        assert stats["unknown_total"] == 0
        for life in await life_by_chat(client, accepted, sorted(unknown)):
            assert life["possible_duplicate"]
            assert [(one["outcome"], one["reason"]) for one in life["attempts"]] == [
                ("unknown", "worker_lost"),
                ("sent", "none"),
            ]
    for chat_id in repeated:
        first, second = await telegram.texts(chat_id)
        assert "Perhaps a repetition" not in first
        assert second.startswith("Perhaps a repetition")


async def _unknown(client: httpx.AsyncClient) -> set[int]:
    """The chats whose message had an attempt that nobody knows the end of."""
    found: set[int] = set()
    cursor: str | None = None
    while True:
        wanted = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/api/v1/messages", params=wanted)).json()
        found |= {item["chat_id"] for item in page["items"] if item["possible_duplicate"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def test_killed_again_and_again_none_is_lost(telegram: Sandbox, tmp_path: Path) -> None:
    suite = Suite(tmp_path / "data", telegram)
    accepted: dict[str, int] = {}
    portion = len(CHATS) // 3
    for round_number in range(3):
        begin = CHATS.start + round_number * portion
        async with suite.running() as (process, client):
            accepted |= await post_to_each(client, range(begin, begin + portion))
            await until(partial(some_have_arrived, telegram, round_number * 100 + 50))
            await process.end(signal.SIGKILL)
    async with suite.running() as (_, client):
        await finished(client, len(accepted))
        arrived = await copies(telegram)
        assert set(arrived) == set(accepted.values())
        assert {chat_id for chat_id, number in arrived.items() if number > 1} <= await _unknown(client)


async def test_stopped_in_the_middle_nothing_is_lost_and_nothing_is_sent_twice(
    telegram: Sandbox, tmp_path: Path
) -> None:
    suite = Suite(tmp_path / "data", telegram)
    await telegram.faults({"kind": "latency", "seconds": 0.5, "seconds_max": 0.5, "times": None})
    async with suite.running() as (process, client):
        accepted = await post_to_each(client, CHATS)
        await until(lambda: some_have_arrived(telegram, 200))
        assert await process.end(signal.SIGTERM) == 0
    await telegram.no_faults()
    assert len(await copies(telegram)) < len(CHATS)
    async with suite.running() as (_, client):
        stats = await finished(client, len(accepted))
        assert stats["unknown_total"] == 0
        assert await _unknown(client) == set()
    assert await copies(telegram) == Counter(dict.fromkeys(CHATS, 1))


async def test_what_was_answered_202_before_the_kill_is_there_after_it(
    telegram: Sandbox, tmp_path: Path
) -> None:
    """Killed while clients are still posting: an answer is a promise, a broken connection is none."""
    suite = Suite(tmp_path / "data", telegram)
    promised: list[str] = []
    async with suite.running() as (process, client):

        async def enough() -> bool:
            answer = await client.post(
                "/events", json={"type": "custom_event", "title": "x", "chat_id": CHATS[len(promised)]}
            )
            promised.extend(answer.json()["message_ids"])
            return len(promised) >= 100

        await until(enough)
        await process.end(signal.SIGKILL)
    async with suite.running() as (_, client):
        await finished(client, len(promised))
        found = {life["id"] for life in await lives(client, promised) if life["status"] == "delivered"}
        assert found == set(promised)
