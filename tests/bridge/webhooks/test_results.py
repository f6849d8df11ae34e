"""The asking program is told the result: signed, traced, again until it is taken, also after a crash."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from services.bridge import inbound
from services.bridge.settings import BridgeSettings
from services.bridge.webhooks import store
from services.bridge.webhooks.store import Call, NewCall, State, Tried
from services.bridge.webhooks.worker import WAITS, decide
from services.kit.database.connect import Database
from services.kit.web import webhook_signatures
from tests.bridge.people import ADA, People, bridge_of
from tests.conftest import BridgeFactory
from tests.servers import ManualClock, serving, until

SECRET = webhook_signatures.new_secret()


@dataclass
class Program:
    """The asking program: what it got, and what it answers."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: Cleared: it takes calls, and does not answer.
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        await self.answers.wait()
        return web.Response(status=self.status, headers=self.headers)

    async def until_called(self, times: int) -> None:
        async def look() -> bool:
            return len(self.calls) >= times

        await until(look)

    def verified(self, number: int, secret: str = SECRET) -> dict[str, Any]:
        """The body of a call whose signature is right by the law of Standard Webhooks."""
        headers, body = self.calls[number]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert f"v1,{wanted}" in headers["webhook-signature"].split(" ")
        return dict(orjson.loads(body))


@asynccontextmanager
async def listening() -> AsyncIterator[Program]:
    program = Program()
    app = web.Application()
    app.router.add_post("/hook", program.take)
    async with serving(app) as url:
        program.url = f"{url}/hook"
        try:
            yield program
        finally:
            program.answers.set()


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    async with listening() as running:
        yield running


@pytest.fixture
def signed(settings: BridgeSettings) -> BridgeSettings:
    return settings.model_copy(update={"webhook_signing_secret": type(settings.telegram_bot_token)(SECRET)})


async def test_the_result_is_told_signed_and_with_the_trace(
    signed: BridgeSettings, people: People, program: Program
) -> None:
    async with bridge_of(signed) as bridge:
        asked = await bridge.ask(
            callback_url=program.url, correlation_id="run-9", metadata={"build": 17, "ref": "v1.4"}
        )
        await people.tap(await people.question(ADA), "Approve")
        await program.until_called(1)
        told = program.verified(0)
        assert told["type"] == "approval.decided"
        assert told["data"]["id"] == asked["id"]
        assert told["data"]["correlation_id"] == "run-9"
        assert told["data"]["metadata"] == {"build": 17, "ref": "v1.4"}
        assert told["data"]["decision"]["option"] == "approve"
        assert told["data"]["decision"]["user_id"] == ADA
        headers, _ = program.calls[0]
        assert headers["traceparent"].startswith("00-")
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 30

        async def noted() -> bool:
            callback = (await bridge.approval(asked["id"]))["callback"]
            return bool(callback["status"] == "delivered" and callback["id"] == headers["webhook-id"])

        await until(noted)
        await bridge.until_metric('cctelegram_webhook_calls_total{kind="approval",outcome="delivered"}', 1.0)


async def test_expiry_and_cancel_are_told_too(
    signed: BridgeSettings, program: Program, clock: ManualClock
) -> None:
    clock.now = time.time()
    async with bridge_of(signed, clock) as bridge:
        await bridge.ask(callback_url=program.url, expires_in=60)
        cancelled = await bridge.ask(callback_url=program.url)
        body = {"reason": "not needed"}
        await bridge.client.post(f"/api/v1/approvals/{cancelled['id']}/cancel", json=body)
        await program.until_called(1)
        assert program.verified(0)["type"] == "approval.cancelled"
        assert program.verified(0)["data"]["reason"] == "not needed"

        async def settled() -> bool:
            callback = (await bridge.approval(cancelled["id"]))["callback"]
            return bool(callback["status"] == "delivered")

        # The lease of a call whose answer is not stored yet would end with the jump of the clock.
        await until(settled)
        clock.advance(61)
        await program.until_called(2)
        assert program.verified(1)["type"] == "approval.expired"
        assert program.verified(1)["data"]["decision"] is None


async def test_a_program_that_fails_is_told_again_under_the_same_id_also_after_a_restart(
    signed: BridgeSettings, program: Program, clock: ManualClock
) -> None:
    clock.now = time.time()
    program.status = 503
    async with bridge_of(signed, clock) as bridge:
        asked = await bridge.ask(callback_url=program.url)
        await bridge.decide(asked["id"])
        await program.until_called(1)

        async def waits() -> bool:
            callback = (await bridge.approval(asked["id"]))["callback"]
            return bool(callback["last_error"] == "answered 503" and callback["next_attempt_at"])

        await until(waits)
    program.status = 204
    clock.advance(10)
    async with bridge_of(signed, clock) as bridge:
        await program.until_called(2)
        assert program.verified(0) == program.verified(1)
        (first, _), (second, _) = program.calls
        assert first["webhook-id"] == second["webhook-id"]

        async def delivered() -> bool:
            callback = (await bridge.approval(asked["id"]))["callback"]
            return bool((callback["status"], callback["attempts"]) == ("delivered", 2))

        await until(delivered)


async def test_a_redirect_is_not_followed(signed: BridgeSettings, program: Program) -> None:
    async with listening() as elsewhere, bridge_of(signed) as bridge:
        program.status, program.headers = 307, {"Location": elsewhere.url}
        asked = await bridge.ask(callback_url=program.url)
        await bridge.decide(asked["id"])

        async def refused() -> bool:
            callback = (await bridge.approval(asked["id"]))["callback"]
            return bool(callback["last_error"] == "answered 307")

        await until(refused)
        assert elsewhere.calls == []


async def test_the_secret_is_made_once_and_only_the_owner_reads_it(
    bridge_settings: BridgeFactory, program: Program, tmp_path: Path
) -> None:
    settings = bridge_settings(telegram_allowed_users=[ADA])
    for number in range(2):
        async with bridge_of(settings) as bridge:
            asked = await bridge.ask(callback_url=program.url)
            await bridge.client.post(f"/api/v1/approvals/{asked['id']}/cancel")
            await program.until_called(number + 1)
    kept = tmp_path / "webhook_secret"
    assert kept.stat().st_mode & 0o777 == 0o600
    secret = kept.read_text(encoding="ascii").strip()
    assert program.verified(0, secret)["type"] == program.verified(1, secret)["type"]


@pytest.fixture
async def calls(database: Database) -> Database:
    await database.migrate(inbound.PACKAGES)
    return database


async def test_a_call_whose_worker_was_lost_is_due_again_after_its_lease(
    calls: Database, clock: ManualClock
) -> None:
    new = NewCall("approval", "a-1", "https://example.com/", "{}")
    await calls.write("add", partial(store.add, calls=[new], now=clock.time()))

    async def take() -> list[Call]:
        return await calls.write(
            "take", partial(store.take, room={"https://example.com": 10}, now=clock.time(), lease=30.0)
        )

    (lost,) = await take()
    assert await take() == []
    clock.advance(31)
    (again,) = await take()
    assert (again.id, again.attempt) == (lost.id, 2)
    late = Tried(lost, State.FAILED, 1.0, 2.0, 500, "answered 500", clock.time())
    await calls.write("settle", partial(store.settle, tried=late))
    told = Tried(again, State.DELIVERED, clock.time(), clock.time(), 200, "", clock.time())
    await calls.write("settle", partial(store.settle, tried=told))
    (row,) = await calls.read("read", partial(store.of_subject, subject="a-1"))
    assert (row["state"], row["attempts"]) == ("delivered", 2)
    attempts = await calls.read("read", partial(store.attempts_of, call_id=row["id"]))
    assert [(attempt["number"], attempt["status"]) for attempt in attempts] == [(1, 500), (2, 200)]


def call(attempt: int) -> Call:
    return Call("id", "approval", "https://example.com/", "https://example.com", "{}", "", None, attempt)


def test_a_call_is_given_up_after_the_last_wait_or_when_the_other_side_is_gone() -> None:
    assert decide(call(1), 200, "", 100.0, 0.5) == (State.DELIVERED, 100.0)
    for number, wait in enumerate(WAITS, 1):
        assert decide(call(number), 500, "answered 500", 100.0, 0.5) == (State.WAITING, 100.0 + wait)
    assert decide(call(len(WAITS) + 1), 500, "answered 500", 100.0, 0.5)[0] is State.FAILED
    assert decide(call(1), 410, "answered 410", 100.0, 0.5)[0] is State.FAILED
    assert decide(call(1), None, "no answer in time", 100.0, 0.0) == (State.WAITING, 104.5)
