"""The event log as evidence: whatever happens to the answers, it has each chat's messages in order."""

import asyncio
from random import Random
from typing import Any

import aiohttp
import pytest

from services.telegram_sandbox.settings import SandboxSettings
from tests.telegram_sandbox.conftest import ADA, GRACE, OPERATIONS, TEAM, SandboxServer, started

SEND = "/bot1000000001:sandbox-token-for-local-use-only/sendMessage"
WEATHER = [
    {"kind": "close", "deliver": True, "probability": 0.1, "times": None},
    {"kind": "reset", "deliver": False, "probability": 0.1, "times": None},
    {"kind": "raw", "status": 502, "deliver": True, "probability": 0.1, "times": None},
    {"kind": "answer", "status": 429, "parameters": {"retry_after": 1}, "probability": 0.1, "times": None},
]


async def storm(server: SandboxServer, chats: tuple[int, ...], each: int) -> dict[str, str]:
    """Sends to all chats at once, in order in each; returns the client's view of each text."""
    believed: dict[str, str] = {}

    async def to(chat_id: int) -> None:
        for number in range(each):
            text = f"{chat_id}/{number}"
            try:
                async with server.http.post(
                    server.url + SEND, json={"chat_id": chat_id, "text": text}
                ) as answer:
                    believed[text] = (
                        "sent" if answer.status == 200 else "refused" if answer.status == 429 else "unknown"
                    )
            except aiohttp.ClientError:
                believed[text] = "unknown"

    await asyncio.gather(*map(to, chats))
    return believed


async def shown(server: SandboxServer, chat_id: int) -> list[str]:
    page = await server.get(f"/api/chats/{chat_id}/messages?limit=1000")
    return [item["message"]["text"] for item in page["messages"]]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_log_and_the_chats_agree_under_random_faults(server: SandboxServer, seed: int) -> None:
    chats = (ADA, GRACE, TEAM, OPERATIONS)
    await server.control("/faults/seed", {"seed": seed}, verb="PUT")
    await server.control("/faults", WEATHER)
    believed = await storm(server, chats, 40)
    entries = await server.log(method="sendMessage")
    assert len(entries) == 160
    for chat_id in chats:
        delivered = [e["text"] for e in entries if e["chat_id"] == chat_id and e["delivered"]]
        assert delivered == await shown(server, chat_id)
        assert delivered == [
            text for text in believed if text.startswith(f"{chat_id}/") and text in delivered
        ]
    _agrees(believed, entries)


def _agrees(believed: dict[str, str], entries: list[dict[str, Any]]) -> None:
    """Checks that the client's view agrees with the answers in the log."""
    by_text = {entry["text"]: entry for entry in entries}
    for text, belief in believed.items():
        entry = by_text[text]
        if belief == "sent":
            assert (entry["delivered"], entry["answer"]) == (True, "given")
        elif belief == "refused":
            assert (entry["delivered"], entry["answer"], entry["status"]) == (False, "replaced", 429)
        else:
            assert entry["answer"] in ("dropped", "replaced")
    assert set(believed.values()) == {"sent", "refused", "unknown"}


async def test_the_same_seed_causes_the_same_faults(settings: SandboxSettings) -> None:
    outcomes = []
    for _ in range(2):
        async with started(settings) as server:
            await server.control("/faults/seed", {"seed": 11}, verb="PUT")
            await server.control("/faults", WEATHER)
            believed = await storm(server, (ADA,), 30)
            outcomes.append(list(believed.values()))
            settings = settings.model_copy(update={"data_dir": settings.data_dir / "second"})
    assert outcomes[0] == outcomes[1]


async def test_sequence_numbers_have_no_gaps_and_times_never_decrease(server: SandboxServer) -> None:
    random = Random(5)  # noqa: S311 # a mix of calls, not a secret
    for _ in range(60):
        match random.randrange(4):
            case 0:
                await server.call("sendMessage", chat_id=random.choice([ADA, 5]), text="x")
            case 1:
                await server.control(f"/chats/{ADA}/say", {"text": "x"})
            case 2:
                await server.advance(random.random())
            case _:
                await server.call("getUpdates", offset=-1)
    entries = await server.log()
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    times = [entry["time"] for entry in entries]
    assert times == sorted(times)


async def test_two_bots_in_one_chat_edit_only_their_own_messages(server: SandboxServer) -> None:
    other = "2000000002:another"
    await server.control("/bots", {"token": other})
    mine = await server.result("sendMessage", chat_id=ADA, text="mine")
    theirs = (await server.call("sendMessage", token=other, chat_id=ADA, text="theirs"))["result"]
    assert theirs["message_id"] > mine["message_id"]
    edit = {"chat_id": ADA, "message_id": mine["message_id"], "text": "stolen"}
    assert (await server.call("editMessageText", token=other, **edit))[
        "description"
    ] == "Bad Request: message can't be edited"
    await server.control(f"/chats/{ADA}/say", {"text": "to both"})
    for token in (other, "1000000001:sandbox-token-for-local-use-only"):
        (update,) = (await server.call("getUpdates", token=token))["result"]
        assert update["message"]["text"] == "to both"
