"""Eight chats go on while others get answers that Telegram never gives."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from services.kit.clock import SystemClock
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery.retry_policy import Policy
from services.outbox.engine import EngineSettings, open_outbox
from services.outbox.messages import Submission
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import message_timeline
from services.outbox.queries.message_timeline import MessageTimeline
from services.outbox.telegram import http_request
from services.outbox.telegram.answers import LONGEST_RETRY_AFTER
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from tests.outbox.conftest import NO_LIMITS
from tests.outbox.making import each, event, render
from tests.outbox.telegram import odd_server
from tests.outbox.telegram.odd_server import Reply, http, ok
from tests.servers import until

GOOD = range(1, 9)
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"


def refused(status: int, **parameters: Any) -> Reply:
    body = '{"ok":false,"description":"X","parameters":{%s}}'
    return http(status, body % ",".join(f'"{name}":{value}' for name, value in parameters.items()))


#: What a chat gets as the answer to every message, and the reason that its attempts have.
NONSENSE: dict[int, tuple[Reply, str]] = {
    -1: (ok({"message_id": 10**30}), "bad_answer"),
    -2: (ok({"message_id": 2**63}), "bad_answer"),
    -3: (ok({"message_id": -1}), "bad_answer"),
    -4: (ok({"message_id": "7"}), "bad_answer"),
    -5: (ok([]), "bad_answer"),
    -6: (http(200, "<html>log in</html>"), "bad_answer"),
    -7: (http(200, "[" * 100_000), "bad_answer"),
    -8: (http(200, b" " * 2_000_000), "bad_answer"),
    -9: (refused(400, migrate_to_chat_id='"zz"'), "bad_answer"),
    -10: (refused(400, migrate_to_chat_id=10**30), "bad_answer"),
    -11: (refused(400, migrate_to_chat_id=-11), "bad_answer"),
    -12: (refused(400, migrate_to_chat_id=0), "bad_answer"),
    -13: (refused(400, migrate_to_chat_id=1), "bad_answer"),
    -14: (refused(429, retry_after='"x"'), "bad_answer"),
    -15: (refused(429, retry_after="[5]"), "bad_answer"),
    -16: (refused(429, retry_after=10**12), "flood_control"),
    -17: (refused(429, retry_after=10**30), "flood_control"),
    -18: (Reply(ENDLESS, drip=b" "), "no_answer"),
    -19: (Reply(b"", holds=True), "no_answer"),
    -20: (Reply(ENDLESS, drip=b" " * 500_000), "bad_answer"),
    -21: (Reply(b"SSH-2.0-OpenSSH\r\n\r\n"), "no_answer"),
}


def posted(chat_id: int, *titles: str) -> Submission:
    made = each(titles, chat_id)
    now = SystemClock().time()
    events = tuple(event(one.title, accepted_at=now) for one in made.events)
    return Submission(events, made.messages)


async def life_of(database: Database, message_id: str) -> MessageTimeline:
    life = await database.read("read", partial(message_timeline.timeline, message_id=message_id))
    assert life is not None
    return life


async def test_chats_with_good_answers_go_on_while_others_get_nonsense(
    database: Database, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_request, "READ_TIMEOUT_SECONDS", 0.5)
    policy = Policy(base=0.2, cap=0.4, max_resends=1)
    bad = {chat_id: posted(chat_id, "hello") for chat_id in NONSENSE}
    good = [posted(chat_id, "1", "2", "3") for chat_id in GOOD]

    def decide(_: str, data: Mapping[str, Any]) -> Reply | None:
        return NONSENSE[data["chat_id"]][0] if data.get("chat_id") in NONSENSE else None

    async with odd_server.running() as server:
        server.decide = decide
        async with open_outbox(
            EngineSettings(concurrency=64, limits=NO_LIMITS, policy=policy),
            database=database,
            telemetry=telemetry,
            metrics=OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
            clock=SystemClock(),
            sender=Sender(make_bot("1:token", server.url, 64), SystemClock()),
            render=render,
        ) as outbox:
            # Each bad chat has a first answer, or none, before the good ones begin.
            await asyncio.gather(*(outbox.enqueue(one) for one in bad.values()))

            async def all_tried() -> bool:
                return {data.get("chat_id") for _, data in server.calls} >= set(bad)

            await until(all_tried)
            await asyncio.gather(*(outbox.enqueue(one) for one in good))

            async def all_taken() -> bool:
                return len(server.taken) == 3 * len(good)

            await until(all_taken)
            for chat_id in GOOD:
                assert [text for chat, text in server.taken if chat == chat_id] == ["1", "2", "3"]
            for chat_id, (_, reason) in NONSENSE.items():
                await until(partial(_has_reason, database, bad[chat_id].messages[0][0].id, reason))


async def _has_reason(database: Database, message_id: str, reason: str) -> bool:
    life = await life_of(database, message_id)
    waits = life.message["due_at"] - SystemClock().time()
    assert waits < LONGEST_RETRY_AFTER + 2
    return bool(life.attempts) and life.attempts[0]["reason"] == reason


async def test_a_negative_wait_is_no_reason_to_send_without_a_pause(
    database: Database, telemetry: Telemetry
) -> None:
    """It waits for the base at least, and longer each time."""
    policy = Policy(base=1.0, cap=60.0)
    async with odd_server.running() as server:
        server.decide = lambda method, _: refused(429, retry_after=-5) if method == "sendMessage" else None
        async with open_outbox(
            EngineSettings(limits=NO_LIMITS, policy=policy),
            database=database,
            telemetry=telemetry,
            metrics=OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
            clock=SystemClock(),
            sender=Sender(make_bot("1:token", server.url, 64), SystemClock()),
            render=render,
        ) as outbox:
            one = posted(1, "hello")
            await outbox.enqueue(one)

            async def twice() -> bool:
                return server.methods().count("sendMessage") == 2

            await until(twice)

            async def settled() -> MessageTimeline | None:
                life = await life_of(database, one.messages[0][0].id)
                return life if life.message["retries"] == 2 else None

            life = await until(settled)
    assert life is not None
    first, second = life.attempts
    assert first["finished_at"] is not None
    assert second["claimed_at"] >= first["finished_at"] + policy.base
    assert second["finished_at"] is not None
    assert life.message["due_at"] >= second["finished_at"] + 0.8 * 2 * policy.base
