"""Cancel and replay: only where the message's state allows it, and always with who and why."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.bridge.tracking.conftest import ADA, Post, State, later
from tests.servers import Sandbox, until

REFUSED = {"kind": "answer", "status": 400, "description": "Bad Request: message is too long"}


async def test_a_message_that_waits_is_taken_back_and_never_sent(
    bridge: httpx.AsyncClient, post: Post, sandbox: Sandbox
) -> None:
    waiting = await post("later", deliver_at=later())
    answer = await bridge.post(f"/api/v1/messages/{waiting}/cancel", json={"reason": "a typo"})
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    life = (await bridge.get(f"/api/v1/messages/{waiting}")).json()
    assert life["status"] == "cancelled"
    assert life["events"][-1]["cause"] == "cancelled by default: a typo"
    assert await sandbox.sends() == []


async def test_a_delivered_message_cannot_be_taken_back(
    bridge: httpx.AsyncClient, post: Post, in_state: State
) -> None:
    message_id = await post()
    await in_state(message_id, "delivered")
    answer = await bridge.post(f"/api/v1/messages/{message_id}/cancel")
    assert answer.status_code == 409
    assert (answer.json()["status"], answer.json()["state"]) == (409, "delivered")


async def test_a_cancelled_message_is_cancelled_once(bridge: httpx.AsyncClient, post: Post) -> None:
    message_id = await post(deliver_at=later())
    answers = await asyncio.gather(*(bridge.post(f"/api/v1/messages/{message_id}/cancel") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


@pytest.mark.parametrize("what", ["cancel", "replay"])
async def test_a_message_that_is_not_there_is_said_to_be_so(bridge: httpx.AsyncClient, what: str) -> None:
    assert (await bridge.post(f"/api/v1/messages/none/{what}")).status_code == 404


async def test_a_cancelled_message_does_not_hold_up_the_next(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    first = await post("first", deliver_at=later())
    await bridge.post(f"/api/v1/messages/{first}/cancel")
    await in_state(await post("second"), "delivered")
    assert [text for text in await sandbox.texts(ADA) if "first" in text] == []


async def test_a_dead_letter_is_sent_when_it_is_replayed(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    await sandbox.faults(REFUSED)
    message_id = await post()
    await in_state(message_id, "dead_letter")
    await sandbox.no_faults()
    answer = await bridge.post(f"/api/v1/messages/{message_id}/replay", json={"reason": "it is mended"})
    assert (answer.status_code, answer.json()["possible_duplicate"]) == (200, False)
    life = await in_state(message_id, "delivered")
    causes = [step["cause"] for step in life["events"]]
    assert "replayed by default: it is mended" in causes
    assert life["attempts_made"] == 2
    assert len(await sandbox.delivered(ADA)) == 1


async def test_a_message_on_its_way_is_not_replayed(bridge: httpx.AsyncClient, post: Post) -> None:
    message_id = await post(deliver_at=later())
    answer = await bridge.post(f"/api/v1/messages/{message_id}/replay")
    assert (answer.status_code, answer.json()["state"]) == (409, "queued")


async def test_a_replay_of_what_may_have_arrived_says_so_in_the_chat(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "close", "deliver": True})
    message_id = await post(on_unknown="hold")
    await in_state(message_id, "unknown")
    await sandbox.no_faults()
    answer = await bridge.post(f"/api/v1/messages/{message_id}/replay")
    assert answer.json()["possible_duplicate"] is True
    await in_state(message_id, "delivered")
    texts = await sandbox.texts(ADA)
    assert "repetition" in texts[-1]


async def test_a_cancelled_message_can_be_sent_after_all(
    bridge: httpx.AsyncClient, post: Post, in_state: State
) -> None:
    message_id = await post(deliver_at=later())
    await bridge.post(f"/api/v1/messages/{message_id}/cancel")
    assert (await bridge.post(f"/api/v1/messages/{message_id}/replay")).status_code == 200
    await in_state(message_id, "delivered")


async def test_a_replay_tries_a_destination_that_refused_the_bot(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    await sandbox.faults(
        {"kind": "answer", "status": 403, "description": "Forbidden: bot was blocked by the user"}
    )
    first = await post("first")
    await in_state(first, "dead_letter")
    second = await post("second")
    life = await in_state(second, "suppressed")
    assert life["last_error"] == "bot_blocked"
    await sandbox.no_faults()
    await bridge.post(f"/api/v1/messages/{second}/replay")
    await in_state(second, "delivered")


async def test_what_a_key_says_why_has_an_end(bridge: httpx.AsyncClient, post: Post) -> None:
    message_id = await post(deliver_at=later())
    answer = await bridge.post(f"/api/v1/messages/{message_id}/cancel", json={"reason": "x" * 201})
    assert answer.status_code == 422


async def failed(bridge: httpx.AsyncClient, reason: str) -> float:
    line = f'cctelegram_messages_failed_total{{reason="{reason}"}} '
    text = (await bridge.get("/metrics")).text
    return next(float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line))


async def test_what_is_suppressed_is_counted_among_the_failures(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    await sandbox.faults(
        {"kind": "answer", "status": 403, "description": "Forbidden: bot was blocked by the user"}
    )
    await in_state(await post("first"), "dead_letter")
    await in_state(await post("second"), "suppressed")

    async def counted() -> bool:
        return await failed(bridge, "bot_blocked") == 2

    await until(counted)


async def test_what_expires_is_counted_among_the_failures(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "answer", "status": 429, "parameters": {"retry_after": 2}})
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    await in_state(await post(expires_at=soon), "expired")

    async def counted() -> bool:
        return await failed(bridge, "expired") == 1

    await until(counted)
