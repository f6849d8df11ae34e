"""Updates posted to a webhook, by Telegram's law of retries."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from aiohttp import web

from services.telegram_sandbox.webhooks import pause
from tests.telegram_sandbox.conftest import ADA, GRACE, Here, until

ACTIVE_WEBHOOK = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
RANDOM = Random(1)  # noqa: S311 # pauses, not secrets


class Receiver:
    """A bot's own web server; answers as told, 200 otherwise."""

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
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


async def say(here: Here, text: str, chat_id: int = ADA) -> None:
    await here.control(f"/chats/{chat_id}/say", {"text": text})


async def pending(here: Here) -> int:
    return int((await here.result("getWebhookInfo"))["pending_update_count"])


async def test_updates_are_posted_with_the_secret_and_then_gone(here: Here, receiver: Receiver) -> None:
    assert await here.result("setWebhook", url=receiver.url, secret_token="s3cret")
    await say(here, "hello")
    await until(lambda: receiver.got)
    assert (receiver.texts, receiver.secrets) == (["hello"], ["s3cret"])
    bot = next(iter(here.sandbox.bots))
    await until(lambda: not bot.queue.pending)


async def test_what_waited_before_the_webhook_was_set_is_posted_too(here: Here, receiver: Receiver) -> None:
    await say(here, "early")
    await here.result("setWebhook", url=receiver.url)
    await until(lambda: receiver.texts == ["early"])


async def test_pending_updates_can_be_dropped_with_the_change(here: Here, receiver: Receiver) -> None:
    await say(here, "early")
    await here.result("setWebhook", url=receiver.url, drop_pending_updates=True)
    await say(here, "late")
    await until(lambda: receiver.texts == ["late"])


async def test_anything_but_2xx_is_tried_again_at_once_and_then_later(here: Here, receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (404, {})]
    await here.result("setWebhook", url=receiver.url)
    await say(here, "x")
    await until(lambda: len(receiver.got) == 2)
    info = await here.result("getWebhookInfo")
    assert (info["url"], info["pending_update_count"]) == (receiver.url, 1)
    await until(lambda: next(iter(here.sandbox.bots)).webhook_state.last_error.startswith("Wrong response"))
    await here.advance(2)
    await until(lambda: len(receiver.got) == 3)
    assert (await here.result("getWebhookInfo"))["last_error_message"].startswith(
        "Wrong response from the webhook: 404"
    )
    bot = next(iter(here.sandbox.bots))
    await until(lambda: not bot.queue.pending)


async def test_retry_after_is_honoured(here: Here, receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "600"})]
    await here.result("setWebhook", url=receiver.url)
    await say(here, "x")
    await until(lambda: next(iter(here.sandbox.bots)).webhook_state.last_error)
    await here.advance(599)
    await here.get("/health/live")
    assert len(receiver.got) == 1
    await here.advance(1)
    await until(lambda: len(receiver.got) == 2)


async def test_one_chat_is_served_in_order_and_does_not_hold_up_another(
    here: Here, receiver: Receiver
) -> None:
    receiver.gate = asyncio.Event()
    await here.result("setWebhook", url=receiver.url)
    for text in ("a1", "a2"):
        await say(here, text)
    await say(here, "g1", GRACE)
    await until(lambda: sorted(receiver.texts) == ["a1", "g1"])
    receiver.gate.set()
    await until(lambda: len(receiver.got) == 3)
    assert receiver.texts.index("a2") == 2


async def test_an_update_is_given_up_when_it_expires(here: Here, receiver: Receiver) -> None:
    receiver.answers = [(500, {})] * 50
    await here.result("setWebhook", url=receiver.url)
    await say(here, "x")
    await until(lambda: len(receiver.got) == 2 and here.sandbox.clock._timers)
    await here.advance(86_401)
    bot = next(iter(here.sandbox.bots))
    await until(lambda: not bot.queue.pending)


async def test_410_for_23_hours_removes_the_webhook(here: Here, receiver: Receiver) -> None:
    receiver.answers = [(410, {})] * 5
    await here.result("setWebhook", url=receiver.url)
    await say(here, "x")
    await until(lambda: len(receiver.got) == 2)
    bot = next(iter(here.sandbox.bots))
    await until(lambda: bot.webhook_state.gone_since is not None)
    await here.advance(23 * 3600)
    await until(lambda: bot.webhook is None)
    assert await pending(here) == 1


async def test_a_receiver_that_is_not_there_is_named_as_the_error(here: Here) -> None:
    await here.result("setWebhook", url="http://127.0.0.1:9/hook")
    await say(here, "x")
    bot = next(iter(here.sandbox.bots))
    await until(lambda: bot.webhook_state.last_error)
    assert "Cannot connect" in (await here.result("getWebhookInfo"))["last_error_message"]


async def test_getupdates_is_refused_while_a_webhook_is_set(here: Here, receiver: Receiver) -> None:
    await here.result("setWebhook", url=receiver.url)
    assert await here.refusal("getUpdates") == (
        409,
        f"Conflict: {ACTIVE_WEBHOOK}",
    )
    await here.result("deleteWebhook")
    assert await here.result("getUpdates") == []
    assert (await here.result("getWebhookInfo"))["url"] == ""


async def test_setting_a_webhook_ends_the_long_poll(here: Here, receiver: Receiver) -> None:
    poll = asyncio.create_task(here.call("getUpdates", timeout=50))
    await until(lambda: next(iter(here.sandbox.bots)).poll)
    await here.result("setWebhook", url=receiver.url)
    assert (await poll)["description"] == "Conflict: terminated by setWebhook request"


async def test_a_webhook_may_be_set_once_a_second(here: Here, receiver: Receiver) -> None:
    await here.result("setWebhook", url=receiver.url)
    assert await here.refusal("setWebhook", url=receiver.url) == (429, "Too Many Requests: retry after 1")


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({"url": "gopher://x"}, "Bad Request: invalid webhook URL specified"),
        (
            {"url": "https://a.b", "secret_token": "no spaces"},
            "Bad Request: secret token contains unallowed characters",
        ),
    ],
)
async def test_a_bad_webhook_is_refused(here: Here, fields: dict[str, str], description: str) -> None:
    assert await here.refusal("setWebhook", **fields) == (400, description)


def test_the_pauses_double_up_to_a_random_minute_or_two() -> None:
    assert [pause(retry, None, RANDOM) for retry in range(1, 7)] == [0, 2, 4, 8, 16, 32]
    late = [pause(retry, None, RANDOM) for retry in range(8, 60)]
    assert all(60 <= seconds <= 120 for seconds in late)
    assert len(set(late)) > 20


def test_retry_after_is_capped_at_an_hour() -> None:
    assert [pause(3, asked, RANDOM) for asked in (0.0, 7.0, 99_999.0)] == [0, 7, 3600]
