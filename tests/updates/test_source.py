"""Polling: lies of a server neither stop the receiving of updates nor make it ask without a pause."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from services.kit.clock import SystemClock
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.errors import BadAnswerError
from services.updates import source
from services.updates.batch import Batch
from services.updates.source import Polling, Webhook, WebhookInfo
from tests.outbox.telegram import odd_server
from tests.outbox.telegram.odd_server import OddServer, Reply, http, ok
from tests.servers import until
from tests.updates.making import text


@pytest.fixture
async def server() -> AsyncIterator[OddServer]:
    async with odd_server.running() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits after failures are short."""
    monkeypatch.setattr(source, "_WAITS", (0.01,))


class Received:
    """What a source has handed on; an update is new the first time."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.unreadable = self.batches = 0

    async def on_updates(self, batch: Batch) -> int:
        self.batches += 1
        self.unreadable += batch.unreadable
        new = [update["update_id"] for update in batch.updates if update["update_id"] not in self.ids]
        self.ids += dict.fromkeys(new)
        return len(set(new))

    async def until(self, update_id: int) -> None:
        async def there() -> bool:
            return update_id in self.ids

        await until(there)


@asynccontextmanager
async def polling(server: OddServer) -> AsyncIterator[Received]:
    received = Received()
    async with make_bot("1:token", server.url, 1) as bot:
        task = asyncio.create_task(Polling(bot).run(received.on_updates, lambda: None))
        try:
            yield received
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


DEEP = '{"update_id":5,"message":' + "[" * 100_000 + "]" * 100_000 + "}"
LIES: dict[str, Reply] = {
    "no-list": ok({"update_id": 5}),
    "null": ok(None),
    "numbers": ok([1, 2, 3]),
    "huge-id": ok([text(10**30)]),
    "64-bit-id": ok([text(2**62)]),
    "negative-id": ok([text(-5)]),
    "text-id": ok([text("7")]),
    "no-id": ok([{"message": {}}]),
    "twice": ok([text(5), text(5)]),
    "decreasing": ok([text(9), text(8), text(7)]),
    "million": ok([{"update_id": n} for n in range(150_000)]),
    "deep": http(200, '{"ok":true,"result":[' + DEEP + "]}"),
    "deep-all": http(200, "[" * 1_000_000),
    "too-large": http(200, b'{"ok":true,"result":[' + b" " * 9_000_000 + b"]}"),
    "page": http(200, "<html>log in</html>"),
    "empty": http(200, ""),
    "flood-for-ever": http(429, '{"ok":false,"parameters":{"retry_after":1000000000000}}'),
    "no-number": http(429, '{"ok":false,"parameters":{"retry_after":"x"}}'),
    "no-http": Reply(b"SSH-2.0-OpenSSH\r\n\r\n"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("lie", LIES)
async def test_after_a_lie_the_next_updates_are_received(server: OddServer, lie: str) -> None:
    answers: Iterator[Reply] = iter([LIES[lie], LIES[lie], ok([text(1_000_000)])])

    def decide(method: str, _: Mapping[str, Any]) -> Reply | None:
        return next(answers, None) if method == "getUpdates" else None

    server.decide = decide
    async with polling(server) as received:
        await received.until(1_000_000)


@pytest.mark.parametrize(
    "always",
    [
        ok([text(5)]),  # the offset is ignored
        ok([text("x")]),
        ok([]),  # the wait is ignored
        ok([1]),
        ok(7),
        http(200, "<html>log in</html>"),
    ],
)
async def test_a_server_that_always_says_the_same_is_not_asked_without_a_pause(
    server: OddServer, monkeypatch: pytest.MonkeyPatch, always: Reply
) -> None:
    monkeypatch.setattr(source, "_WAITS", (3_600.0,))
    server.decide = lambda method, _: always if method == "getUpdates" else None
    async with polling(server) as received:
        # A first answer may bring something new; the pause follows the second one at the latest.
        await until(lambda: _polled(server))
        before = received.batches
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert received.batches <= before + 2
        assert server.methods().count("getUpdates") <= 3


async def _polled(server: OddServer) -> bool:
    return "getUpdates" in server.methods()


@pytest.mark.parametrize(
    "result", [None, 7, [], "x", {"url": 7}, {"last_error_date": "x"}, {"last_error_message": []}]
)
def test_an_answer_that_describes_no_webhook_is_a_bad_one(result: Any) -> None:
    with pytest.raises(BadAnswerError):
        WebhookInfo.of(result)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("lie", [ok(7), ok({"url": 7}), http(200, "<html>"), ok({"last_error_date": "x"})])
async def test_a_webhook_is_looked_at_again_after_a_lie(server: OddServer, lie: Reply) -> None:
    url = "https://bridge.example/telegram/webhook"
    infos = iter([lie, lie])

    def decide(method: str, _: Mapping[str, Any]) -> Reply | None:
        return next(infos, ok({"url": url})) if method == "getWebhookInfo" else None

    server.decide = decide
    received = Received()
    async with make_bot("1:token", server.url, 1) as bot:
        webhook = Webhook(bot, url, "secret", SystemClock())
        task = asyncio.create_task(webhook.run(received.on_updates, lambda: None))

        async def reached() -> bool:
            return received.batches == 1

        await until(reached)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert json.dumps(server.methods()).count("setWebhook") == 1
