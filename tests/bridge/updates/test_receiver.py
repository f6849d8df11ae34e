"""Updates are stored before they are acknowledged, handled once, and received by one replica at a time."""

import asyncio
import time
from functools import partial
from typing import Any

from sqlalchemy import Connection, update

from services.bridge import inbound
from services.bridge.settings import BridgeSettings
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.updates.processor import MOST_TRIES
from services.updates.stored_updates import store
from services.updates.stored_updates.schema import telegram_update
from tests import servers
from tests.bridge.people import ADA, Bridge, People, bridge_of
from tests.conftest import BridgeFactory
from tests.ports import free_port
from tests.servers import KEY, until
from tests.updates.making import states, text

TOKEN = "1000000001:sandbox-token-for-local-use-only"


async def opened(settings: BridgeSettings) -> Database:
    telemetry = Telemetry("tests", ServiceSettings(data_dir=settings.data_dir))
    url = settings.database("bridge")
    return await open_database(url, telemetry, packages=["services.outbox", *inbound.PACKAGES])


async def test_updates_that_an_earlier_process_stored_are_handled_by_the_next(
    settings: BridgeSettings, people: People
) -> None:
    database = await opened(settings)
    stored = [text(71, "first"), text(72, "second")]
    add = partial(store.add, bot="default", updates=stored, now=time.time())
    assert await database.write("updates", add) == ["message", "message"]
    await database.close()
    async with bridge_of(settings) as bridge:

        async def two() -> bool:
            return len(await bridge.responses()) == 2

        await until(two)
        assert [response["text"] for response in await bridge.responses()] == ["first", "second"]


async def test_an_update_that_the_database_cannot_store_does_not_stop_the_next_ones(
    settings: BridgeSettings, people: People
) -> None:
    """A modified client can send any data with a tap; PostgreSQL stores neither NUL nor larger numbers."""
    person = {"id": ADA, "first_name": "A\0da"}
    tap = {"update_id": 71, "callback_query": {"id": "7", "from": person, "data": "a:\0:0"}}
    database = await opened(settings)
    bad = [tap, text(72, "from nowhere", chat_id=2**63), text(73, "af\0ter")]
    await database.write("updates", partial(store.add, bot="default", updates=bad, now=time.time()))
    await database.close()
    async with bridge_of(settings) as bridge:

        async def both_stored() -> bool:
            return len(await bridge.responses()) == 2

        await until(both_stored)
        assert [response["text"] for response in await bridge.responses()] == ["a:\ufffd:0", "af\ufffdter"]
        assert await bridge.metric("cctelegram_telegram_updates_unreadable_total") == 1.0


async def test_a_stored_update_that_cannot_be_handled_ends_and_those_after_it_are_handled(
    settings: BridgeSettings, people: People
) -> None:
    """Such rows are not written any more: an older version stored a body that is no JSON."""
    database = await opened(settings)
    updates = [text(71, "first"), text(72, "damaged"), text(73, "last")]
    await database.write("updates", partial(store.add, bot="default", updates=updates, now=time.time()))
    damage = update(telegram_update).where(telegram_update.c.update_id == 72)
    values = {"body": "{", "tries": MOST_TRIES - 1}
    await database.write("f", lambda connection: connection.execute(damage.values(**values)))
    await database.close()
    async with bridge_of(settings) as bridge:
        await _texts(bridge, ["first", "last"])
        await bridge.until_metric("cctelegram_telegram_update_failures_total", 1.0)
        database = await opened(settings)
        assert await states(database) == ["handled", "failed", "handled"]
        await database.close()


async def test_stored_calls_that_cannot_be_read_do_not_stop_the_receiving_of_updates(
    settings: BridgeSettings, people: People
) -> None:
    database = await opened(settings)
    await database.write("u", partial(store.add, bot="default", updates=[text(71, "x")], now=time.time()))
    pending = {"state": store.UpdateState.CALLS_PENDING.value, "chores": "[7"}
    damaged = update(telegram_update).values(**pending)
    await database.write("f", lambda connection: connection.execute(damaged))
    await database.close()
    async with bridge_of(settings) as bridge:
        await people.say(ADA, "after")
        await _texts(bridge, ["after"])


async def test_an_update_is_stored_before_it_is_acknowledged(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        await people.say(ADA, "remember me")

        async def acknowledged() -> bool:
            return await people.pending() == []

        await until(acknowledged)
        # Every acknowledged update is stored.
        database = await opened(settings)
        assert len(await states(database)) == 1
        await database.close()
        await bridge.until_metric('cctelegram_telegram_updates_total{kind="message"}', 1.0)


async def test_while_the_database_is_locked_no_update_is_acknowledged(
    bridge_settings: BridgeFactory, people: People
) -> None:
    settings = bridge_settings()
    async with bridge_of(settings) as bridge:
        await _receiving(bridge)
        # Another process holds SQLite's write lock.
        database = await opened(settings)
        locked, free = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(_: Connection) -> None:
            loop.call_soon_threadsafe(locked.set)
            asyncio.run_coroutine_threadsafe(free.wait(), loop).result(timeout=20)

        holding = asyncio.create_task(database.write("hold", hold))
        await locked.wait()
        polls = await _polls(bridge)
        await people.say(ADA, "while it is locked")

        async def received() -> bool:
            return await _polls(bridge) > polls

        await until(received)
        assert len(await people.pending()) == 1
        free.set()
        await holding
        await database.close()
        await _texts(bridge, ["while it is locked"])


async def _polls(bridge: Bridge) -> float:
    """How many polls were answered."""
    labels = 'endpoint="getUpdates",provider="telegram",status_code="200"'
    return await bridge.metric(f"external_api_calls_total{{{labels}}}") or 0


async def test_a_repeated_update_is_handled_once(talk: Bridge, settings: BridgeSettings) -> None:
    headers = {"X-Telegram-Bot-Api-Secret-Token": settings.bots()["default"].webhook_secret}
    for words in ("once", "once", "never: the id is known"):
        answer = await talk.client.post("/telegram/webhook", json=text(500, words), headers=headers)
        assert answer.status_code == 200

    async def one() -> bool:
        return [response["text"] for response in await talk.responses()] == ["once"]

    await until(one)
    await talk.client.post("/telegram/webhook", json=text(501, "next"), headers=headers)

    async def two() -> bool:
        return [response["text"] for response in await talk.responses()] == ["once", "next"]

    await until(two)


async def test_one_replica_receives_and_another_takes_over_when_it_stops(
    replicas: BridgeSettings, people: People
) -> None:
    async with bridge_of(replicas) as one:
        await _receiving(one)
        async with bridge_of(replicas) as two:

            async def both_know() -> bool:
                return (await two.health()).get("last_success_age_seconds") is not None

            await until(both_know)
            assert (await two.health())["receiving"] is False
            assert (await one.health())["conflicts_total"] == 0
            await people.say(ADA, "to the first")
            await _texts(two, ["to the first"])
            one.stop.set()
            await _receiving(two)
            await people.say(ADA, "to the second")
            await _texts(two, ["to the first", "to the second"])


async def _receiving(bridge: Bridge) -> None:
    async def look() -> bool:
        return (await bridge.health()).get("receiving") is True

    await until(look)


async def _texts(bridge: Bridge, wanted: list[str]) -> None:
    async def look() -> bool:
        return [one["text"] for one in await bridge.responses()] == wanted

    await until(look)


async def test_a_second_poller_is_seen_in_health_and_metrics(quick: Bridge, people: People) -> None:
    await _receiving(quick)
    await quick.until_metric('cctelegram_telegram_update_conflicts_total{bot="default"}', 0.0)
    client = people.sandbox.client

    async def conflicted() -> bool:
        await client.post(f"/bot{TOKEN}/getUpdates", json={"timeout": 0})
        return (await quick.metric('cctelegram_telegram_update_conflicts_total{bot="default"}') or 0) >= 1

    await until(conflicted)

    async def seen() -> bool:
        health = await quick.health()
        return bool(health["status"] == "degraded" and health["conflicts_total"] >= 1)

    await until(seen)


async def test_counters_exist_from_the_start_and_the_age_only_after_a_first_success(
    bridge_settings: BridgeFactory,
) -> None:
    nowhere = bridge_settings(telegram_api_url=f"http://127.0.0.1:{free_port()}")
    async with bridge_of(nowhere) as bridge:
        for kind in ("message", "callback_query", "my_chat_member", "other"):
            assert await bridge.metric(f'cctelegram_telegram_updates_total{{kind="{kind}"}}') == 0.0
        assert await bridge.metric('cctelegram_telegram_update_conflicts_total{bot="default"}') == 0.0
        assert (
            await bridge.metric('cctelegram_telegram_updates_last_success_age_seconds{bot="default"}') is None
        )
        assert await bridge.metric('cctelegram_approvals_closed_total{state="expired"}') == 0.0
        assert await bridge.metric('cctelegram_approval_answers_total{outcome="foreign",via="tap"}') == 0.0

        async def measured() -> bool:
            return (await bridge.health()).get("mode") is not None

        await until(measured)
        health = await bridge.health()
        assert (health["status"], health["last_success_age_seconds"]) == ("unknown", None)


async def test_when_telegram_is_reached_the_age_is_measured(quick: Bridge) -> None:
    async def measured() -> bool:
        return (
            await quick.metric('cctelegram_telegram_updates_last_success_age_seconds{bot="default"}')
            is not None
        )

    await until(measured)

    async def healthy() -> bool:
        return bool((await quick.health())["status"] == "healthy")

    await until(healthy)
    health = await quick.health()
    assert health["mode"] == "polling"
    assert health["last_success_age_seconds"] >= 0


async def test_in_webhook_mode_a_tap_decides(
    bridge_settings: BridgeFactory, people: People, database_url: str
) -> None:
    port = free_port()
    settings = bridge_settings(
        database_url=database_url,
        port=port,
        telegram_webhook_url=f"http://127.0.0.1:{port}/telegram/webhook",
    )
    async with bridge_of(settings) as bridge:

        async def registered() -> bool:
            (bot,) = (await people.sandbox.client.get("/control/bots")).json()
            return bool(bot["webhook"] == settings.telegram_webhook_url)

        await until(registered)
        approval = await bridge.ask()
        await people.tap(await people.question(ADA), "Approve")
        assert (await bridge.until_status(approval["id"], "decided"))["decision"]["option"] == "approve"

        async def healthy() -> bool:
            return bool((await bridge.health())["status"] == "healthy")

        await until(healthy)
        assert (await bridge.health())["mode"] == "webhook"
    # Back to polling: the webhook is removed, pending updates are not dropped.
    await people.say(ADA, "meanwhile")
    polling = bridge_settings(database_url=database_url)
    async with bridge_of(polling) as bridge:
        await _texts(bridge, ["approve", "meanwhile"])


async def test_a_webhook_without_the_secret_is_refused_and_nothing_is_stored(
    quick: Bridge, settings: BridgeSettings
) -> None:
    for headers in (
        {},
        {"X-Telegram-Bot-Api-Secret-Token": "wrong"},
        {"X-Telegram-Bot-Api-Secret-Token": ""},
    ):
        async with servers.http(str(quick.client.base_url)) as stranger:
            answer = await stranger.post("/telegram/webhook", json=text(1, "hi"), headers=headers)
        assert answer.status_code == 401
    keyed = {"Authorization": f"Bearer {KEY}"}
    assert (
        await quick.client.post("/telegram/webhook", json=text(1, "hi"), headers=keyed)
    ).status_code == 401
    assert await quick.metric('cctelegram_telegram_updates_total{kind="message"}') == 0.0
    assert await quick.metric("auth_failed_attempts_total") == 4.0


async def test_a_body_that_is_not_an_update_is_400(quick: Bridge, settings: BridgeSettings) -> None:
    headers = {"X-Telegram-Bot-Api-Secret-Token": settings.bots()["default"].webhook_secret}
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"update_id": "1"}',
        b'{"update_id": true}',
        b'{"update_id": -1}',
        b'{"update_id": 2147483648}',
        b'{"update_id": 999999999999999999999999999999}',
        b"[" * 5_000,
        b"\xff",
    ):
        answer = await quick.client.post("/telegram/webhook", content=body, headers=headers)
        assert answer.status_code == 400, body


async def test_an_update_of_an_unknown_kind_is_stored_and_has_no_effect(
    quick: Bridge, settings: BridgeSettings
) -> None:
    headers = {"X-Telegram-Bot-Api-Secret-Token": settings.bots()["default"].webhook_secret}
    strange: list[dict[str, Any]] = [
        {"update_id": 1, "poll_answer": {"x": 1}},
        {"update_id": 2, "message": {"nothing": "known"}},
        {"update_id": 3, "callback_query": []},
        {"update_id": 4, "my_chat_member": {"chat": {}}},
        {"update_id": 5, "message": None},
    ]
    for body in strange:
        await quick.client.post("/telegram/webhook", json=body, headers=headers)
    await quick.client.post("/telegram/webhook", json=text(6, "after"), headers=headers)
    await _texts(quick, ["after"])
    assert await quick.metric("cctelegram_telegram_update_failures_total") == 0.0
    assert await quick.metric("cctelegram_telegram_updates_unreadable_total") == 3.0


async def test_an_update_that_is_nested_too_deeply_is_taken_by_its_id_and_has_no_effect(
    talk: Bridge, settings: BridgeSettings
) -> None:
    """Telegram would repeat it for a day, and send nothing after it to that chat, if it were refused."""
    headers = {"X-Telegram-Bot-Api-Secret-Token": settings.bots()["default"].webhook_secret}
    deep = b'{"update_id":1,"message":' + b"[" * 500 + b"]" * 500 + b"}"
    answer = await talk.client.post("/telegram/webhook", content=deep, headers=headers)
    assert answer.status_code == 200
    await talk.client.post("/telegram/webhook", json=text(2, "after"), headers=headers)
    await _texts(talk, ["after"])
    assert await talk.metric("cctelegram_telegram_updates_unreadable_total") == 1.0
