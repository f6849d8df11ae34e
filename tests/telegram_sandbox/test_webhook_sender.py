"""Posts of updates to a webhook, with Telegram's retry rules."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from aiohttp import web

from services.telegram_sandbox.webhook_sender import retry_delay
from tests.servers import serving
from tests.telegram_sandbox.conftest import ADA, GRACE, SandboxServer, until

ACTIVE_WEBHOOK = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
RANDOM = Random(1)  # noqa: S311 # pauses, not secrets


class Receiver:
    """A bot's web server; it gives the configured answers, then 200."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.secrets: list[str | None] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.gate: asyncio.Event | None = None
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        self.secrets.append(request.headers.get("X-Telegram-Bot-Api-Secret-Token"))
        if self.gate is not None:
            await self.gate.wait()
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        return web.Response(status=status, headers=headers)

    @property
    def texts(self) -> list[str]:
        return [update["message"]["text"] for update in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    async with serving(app) as url:
        receiver.url = f"{url}/hook"
        yield receiver


async def say(server: SandboxServer, text: str, chat_id: int = ADA) -> None:
    await server.control(f"/chats/{chat_id}/say", {"text": text})


async def pending(server: SandboxServer) -> int:
    return int((await server.result("getWebhookInfo"))["pending_update_count"])


async def test_updates_are_posted_with_the_secret_and_then_removed(
    server: SandboxServer, receiver: Receiver
) -> None:
    assert await server.result("setWebhook", url=receiver.url, secret_token="s3cret")
    await say(server, "hello")
    await until(lambda: receiver.got)
    assert (receiver.texts, receiver.secrets) == (["hello"], ["s3cret"])
    bot = next(iter(server.sandbox.bots))
    await until(lambda: not bot.queue.pending)


async def test_updates_from_before_the_webhook_was_set_are_posted_too(
    server: SandboxServer, receiver: Receiver
) -> None:
    await say(server, "early")
    await server.result("setWebhook", url=receiver.url)
    await until(lambda: receiver.texts == ["early"])


async def test_pending_updates_can_be_dropped_when_the_webhook_changes(
    server: SandboxServer, receiver: Receiver
) -> None:
    await say(server, "early")
    await server.result("setWebhook", url=receiver.url, drop_pending_updates=True)
    await say(server, "late")
    await until(lambda: receiver.texts == ["late"])


async def test_anything_but_2xx_is_retried_at_once_and_then_later(
    server: SandboxServer, receiver: Receiver
) -> None:
    receiver.answers = [(500, {}), (404, {})]
    await server.result("setWebhook", url=receiver.url)
    await say(server, "x")
    await until(lambda: len(receiver.got) == 2)
    info = await server.result("getWebhookInfo")
    assert (info["url"], info["pending_update_count"]) == (receiver.url, 1)
    await until(lambda: next(iter(server.sandbox.bots)).webhook_state.last_error.startswith("Wrong response"))
    await server.advance(2)
    await until(lambda: len(receiver.got) == 3)
    assert (await server.result("getWebhookInfo"))["last_error_message"].startswith(
        "Wrong response from the webhook: 404"
    )
    bot = next(iter(server.sandbox.bots))
    await until(lambda: not bot.queue.pending)


async def test_retry_after_is_followed(server: SandboxServer, receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "600"})]
    await server.result("setWebhook", url=receiver.url)
    await say(server, "x")
    await until(lambda: next(iter(server.sandbox.bots)).webhook_state.last_error)
    await server.advance(599)
    await server.get("/health/live")
    assert len(receiver.got) == 1
    await server.advance(1)
    await until(lambda: len(receiver.got) == 2)


async def test_updates_of_a_chat_are_posted_in_order_and_do_not_delay_others(
    server: SandboxServer, receiver: Receiver
) -> None:
    receiver.gate = asyncio.Event()
    await server.result("setWebhook", url=receiver.url)
    for text in ("a1", "a2"):
        await say(server, text)
    await say(server, "g1", GRACE)
    await until(lambda: sorted(receiver.texts) == ["a1", "g1"])
    receiver.gate.set()
    await until(lambda: len(receiver.got) == 3)
    assert receiver.texts.index("a2") == 2


async def test_an_expired_update_is_dropped(server: SandboxServer, receiver: Receiver) -> None:
    receiver.answers = [(500, {})] * 50
    await server.result("setWebhook", url=receiver.url)
    await say(server, "x")
    await until(lambda: len(receiver.got) == 2 and server.sandbox.clock._timers)
    await server.advance(86_401)
    bot = next(iter(server.sandbox.bots))
    await until(lambda: not bot.queue.pending)


async def test_410_for_23_hours_removes_the_webhook(server: SandboxServer, receiver: Receiver) -> None:
    receiver.answers = [(410, {})] * 5
    await server.result("setWebhook", url=receiver.url)
    await say(server, "x")
    await until(lambda: len(receiver.got) == 2)
    bot = next(iter(server.sandbox.bots))
    await until(lambda: bot.webhook_state.gone_since is not None)
    await server.advance(23 * 3600)
    await until(lambda: bot.webhook is None)
    assert await pending(server) == 1


async def test_a_missing_receiver_is_reported_as_the_error(server: SandboxServer) -> None:
    await server.result("setWebhook", url="http://127.0.0.1:9/hook")
    await say(server, "x")
    bot = next(iter(server.sandbox.bots))
    await until(lambda: bot.webhook_state.last_error)
    assert "Cannot connect" in (await server.result("getWebhookInfo"))["last_error_message"]


async def test_getupdates_is_refused_while_a_webhook_is_set(
    server: SandboxServer, receiver: Receiver
) -> None:
    await server.result("setWebhook", url=receiver.url)
    assert await server.refusal("getUpdates") == (
        409,
        f"Conflict: {ACTIVE_WEBHOOK}",
    )
    await server.result("deleteWebhook")
    assert await server.result("getUpdates") == []
    assert (await server.result("getWebhookInfo"))["url"] == ""


async def test_setting_a_webhook_ends_the_long_poll(server: SandboxServer, receiver: Receiver) -> None:
    poll = asyncio.create_task(server.call("getUpdates", timeout=50))
    await until(lambda: next(iter(server.sandbox.bots)).poll)
    await server.result("setWebhook", url=receiver.url)
    assert (await poll)["description"] == "Conflict: terminated by setWebhook request"


async def test_a_webhook_may_be_set_once_a_second(server: SandboxServer, receiver: Receiver) -> None:
    await server.result("setWebhook", url=receiver.url)
    assert await server.refusal("setWebhook", url=receiver.url) == (429, "Too Many Requests: retry after 1")


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({"url": "gopher://x"}, "Bad Request: invalid webhook URL specified"),
        ({"url": "https://a.b:port/"}, "Bad Request: invalid webhook URL specified"),
        ({"url": "http://a.b/"}, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"),
        (
            {"url": "https://a.b:8080/"},
            "Bad Request: bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
        ),
        ({"url": "https://a.b", "secret_token": "x" * 257}, "Bad Request: secret token is too long"),
        (
            {"url": "https://a.b", "secret_token": "no spaces"},
            "Bad Request: secret token contains unallowed characters",
        ),
    ],
)
async def test_an_invalid_webhook_is_refused(
    server: SandboxServer, fields: dict[str, str], description: str
) -> None:
    assert await server.refusal("setWebhook", **fields) == (400, description)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.b:8443/hook",
        "a.b/hook",
        "http://127.0.0.1:8080/",
        "http://bridge:8080/",
        "http://[::1]:80/",
    ],
)
async def test_a_webhook_on_telegram_s_ports_or_on_this_network_is_accepted(
    server: SandboxServer, url: str
) -> None:
    assert await server.result("setWebhook", url=url)


def test_retry_delays_double_up_to_one_to_two_minutes() -> None:
    assert [retry_delay(retry, None, RANDOM) for retry in range(1, 7)] == [0, 2, 4, 8, 16, 32]
    late = [retry_delay(retry, None, RANDOM) for retry in range(8, 60)]
    assert all(60 <= seconds <= 120 for seconds in late)
    assert len(set(late)) > 20


def test_retry_after_is_capped_at_an_hour() -> None:
    assert [retry_delay(3, asked, RANDOM) for asked in (0.0, 7.0, 99_999.0)] == [0, 7, 3600]
