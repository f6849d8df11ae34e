"""Who hangs holds up nobody else, who fails for days is left alone, and a secret is changed without a gap."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from services.bridge import app as bridge_app
from services.bridge import inbound
from services.bridge.tracking import lifespan
from services.bridge.tracking.callbacks import store as callbacks
from services.bridge.tracking.callbacks.store import BOTH_SIGN_SECONDS
from services.bridge.tracking.callbacks.store import Program as Told
from services.bridge.webhooks import endpoints, store
from services.bridge.webhooks.endpoints import DAY, DISABLED_AFTER
from services.bridge.webhooks.store import Call, NewCall, State, Tried
from services.bridge.webhooks.worker import AT_ONCE
from services.kit import runner
from services.kit.database.connect import Database
from services.kit.web import webhook_signatures
from tests import servers
from tests.bridge.webhooks.test_results import SECRET, Program, listening
from tests.conftest import BridgeFactory
from tests.servers import KEY, ManualClock, until

URL, ORIGIN = "https://example.com/hook", "https://example.com"
EVENT = {"type": "custom_event", "title": "hello", "chat_id": 1001}


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    async with listening() as running:
        yield running


@pytest.fixture
async def bridge(bridge_settings: BridgeFactory, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = bridge_settings(
        database_url=database_url, webhook_signing_secret=SECRET, webhook_timeout_seconds=120
    )
    async with (
        runner.running(bridge_app.create_app, settings) as running,
        servers.http(running.url, key=KEY) as client,
    ):
        yield client


async def calls_of(bridge: httpx.AsyncClient, message_id: str) -> list[dict[str, Any]]:
    return list((await bridge.get(f"/api/v1/messages/{message_id}/callbacks")).json()["items"])


async def post(bridge: httpx.AsyncClient, **fields: Any) -> str:
    answer = await bridge.post("/api/v1/events", json=EVENT | fields)
    return str(answer.raise_for_status().json()["message_ids"][0])


async def test_a_program_that_hangs_keeps_no_other_waiting(
    bridge: httpx.AsyncClient, program: Program
) -> None:
    async with listening() as hanging:
        hanging.answers.clear()
        many = [EVENT | {"callback_url": hanging.url} for _ in range(2 * AT_ONCE)]
        (await bridge.post("/api/v1/events", json=many)).raise_for_status()
        await hanging.until_called(1)
        await post(bridge, callback_url=program.url)
        await program.until_called(1)
        assert len(hanging.calls) < len(many)
        hanging.answers.set()
        await hanging.until_called(len(many))


async def test_one_that_is_gone_is_called_no_more_until_it_is_put_there_again(
    bridge: httpx.AsyncClient, program: Program
) -> None:
    await bridge.put("/api/v1/callbacks/default", json={"url": program.url})
    program.status = 410
    first = await post(bridge)
    await program.until_called(1)

    async def disabled() -> dict[str, Any] | None:
        (told,) = (await bridge.get("/api/v1/callbacks")).json()["items"]
        return dict(told) if told["disabled_at"] else None

    told = await until(disabled)
    assert (told["last_error"], told["failing_since"]) == ("answered 410", told["disabled_at"])

    second = await post(bridge, title="again")

    async def failed() -> bool:
        ended = [call for one in (first, second) for call in await calls_of(bridge, one)]
        return [call["status"] for call in ended] == ["failed", "failed"]

    await until(failed)
    (call,) = await calls_of(bridge, second)
    assert call["last_error"] == f"disabled since {told['disabled_at']}"
    assert len(program.calls) == 1

    program.status = 200
    again = (await bridge.put("/api/v1/callbacks/default", json={"url": program.url})).json()
    assert (again["disabled_at"], again["failing_since"]) == (None, None)
    await post(bridge, title="once more")
    await program.until_called(2)


async def test_a_new_secret_signs_beside_the_one_before_also_what_waits(
    bridge: httpx.AsyncClient, program: Program
) -> None:
    async def put() -> dict[str, Any]:
        return dict((await bridge.put("/api/v1/callbacks/default", json={"url": program.url})).json())

    old = await put()
    assert old["previous_secret_until"] is None
    program.status = 503
    await post(bridge)
    await program.until_called(1)
    new = await put()
    assert new["previous_secret_until"] > new["created_at"]
    program.status = 200
    await program.until_called(2)
    await post(bridge, title="after")
    await program.until_called(3)
    for number in (1, 2):
        assert program.verified(number, old["secret"]) == program.verified(number, new["secret"])
        headers, _ = program.calls[number]
        assert len(headers["webhook-signature"].split(" ")) == 2


def test_two_secrets_of_the_settings_sign_each_by_itself() -> None:
    old, new = webhook_signatures.new_secret(), webhook_signatures.new_secret()
    made = webhook_signatures.headers(f"{new} {old}", "id", 1, b"body")["webhook-signature"].split(" ")
    assert made == [webhook_signatures.signature(secret, "id", 1, b"body") for secret in (new, old)]
    with pytest.raises(ValueError, match="signing secret"):
        webhook_signatures.check(f"{new} whsec_short")


# Without a server.


@pytest.fixture
async def calls(database: Database) -> Database:
    await database.migrate((*inbound.PACKAGES, lifespan.PACKAGE))
    return database


async def add(calls: Database, *urls: str, now: float = 0.0) -> None:
    new = [NewCall("message", str(number), url, "{}") for number, url in enumerate(urls)]
    await calls.write("add", partial(store.add, calls=new, now=now))


async def take(calls: Database, now: float, origin: str = ORIGIN, most: int = 10) -> list[Call]:
    work = partial(store.take, room={origin: most}, now=now, lease=30.0)
    return await calls.write("take", work)


async def settle(calls: Database, call: Call, state: State, now: float) -> bool:
    error = "" if state is State.DELIVERED else "answered 500"
    tried = Tried(call, state, now, now, 500 if error else 200, error, now)
    return await calls.write("settle", partial(store.settle, tried=tried))


async def test_each_origin_is_told_once_with_its_next_call(calls: Database) -> None:
    await add(calls, "https://b.example/1", "https://a.example/1", "https://a.example/2", now=2.0)
    await add(calls, "https://A.example/3", "http://a.example/", "https://a.example:8443/", now=1.0)
    assert await calls.read("waiting", store.waiting) == {
        "http://a.example": 1.0,
        "https://a.example": 1.0,
        "https://a.example:8443": 1.0,
        "https://b.example": 2.0,
    }
    for call in await take(calls, 3.0, "https://b.example"):
        await settle(calls, call, State.DELIVERED, 3.0)
    assert "https://b.example" not in await calls.read("waiting", store.waiting)
    assert len(await take(calls, 3.0, "https://a.example", most=2)) == 2


async def test_an_endpoint_that_takes_nothing_for_five_days_is_disabled_and_tried_once_a_day(
    calls: Database,
) -> None:
    async def fail(now: float) -> bool:
        await add(calls, URL, now=now)
        (call,) = await take(calls, now)
        return await settle(calls, call, State.FAILED, now)

    assert not await fail(0.0)
    assert not await fail(DISABLED_AFTER - 1)
    assert await fail(DISABLED_AFTER)
    now = DISABLED_AFTER + DAY - 1
    await add(calls, URL, URL, now=now)
    left_alone = await take(calls, now)
    assert [call.refused for call in left_alone] == ["disabled since 1970-01-06T00:00:00.000Z"] * 2
    assert not any([await settle(calls, call, State.FAILED, now) for call in left_alone])
    now += 1
    await add(calls, URL, URL, now=now)
    (probe,) = [call for call in await take(calls, now) if not call.refused]
    assert not await settle(calls, probe, State.DELIVERED, now)
    assert await calls.read("failing", partial(endpoints.failing, urls=[URL])) == {}
    await add(calls, URL, now=now)
    assert [call.refused for call in await take(calls, now)] == [""]


async def test_one_that_takes_a_call_in_between_is_not_disabled(calls: Database) -> None:
    for now, state in ((0.0, State.FAILED), (DAY, State.DELIVERED), (DISABLED_AFTER, State.FAILED)):
        await add(calls, URL, now=now)
        (call,) = await take(calls, now)
        assert not await settle(calls, call, state, now)
    (row,) = (await calls.read("failing", partial(endpoints.failing, urls=[URL]))).values()
    assert (row["failing_since"], row["disabled_at"]) == (DISABLED_AFTER, None)


async def test_endpoints_that_nobody_called_since_are_forgotten(calls: Database) -> None:
    await add(calls, URL)
    (call,) = await take(calls, 0.0)
    await settle(calls, call, State.FAILED, 0.0)
    await calls.write("forget", partial(store.delete_old, before=0.0, most=10))
    assert await calls.read("failing", partial(endpoints.failing, urls=[URL])) != {}
    await calls.write("forget", partial(store.delete_old, before=1.0, most=10))
    assert await calls.read("failing", partial(endpoints.failing, urls=[URL])) == {}


async def test_after_a_day_the_new_secret_signs_alone(calls: Database, clock: ManualClock) -> None:
    for one in ("old", "new"):
        put = partial(callbacks.put, client="ci", program=Told(URL, one), now=clock.time())
        await calls.write("callbacks", put)

    async def secret(now: float) -> str:
        return (await calls.read("programs", partial(callbacks.programs, now=now)))["ci"].secret

    assert await secret(clock.time() + BOTH_SIGN_SECONDS - 1) == "new old"
    assert await secret(clock.time() + BOTH_SIGN_SECONDS) == "new"
