"""One bot, one rate: over the services of a process, through Redis, and after Redis is gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from services.kit.clock import SystemClock
from services.kit.health import Health, Level
from services.outbox.rate_limit import buckets, redis_bucket
from services.outbox.rate_limit.bot_bucket import Bucket
from services.outbox.rate_limit.buckets import Buckets, LocalBuckets, open_buckets
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.servers import HANGS, ManualClock, until

TOKEN = "4200000001:one"
RENEWED = "4200000001:two"
ANOTHER = "4200000002:three"


class Senders:
    """Services that send, each with rates of its own, as in processes of their own."""

    def __init__(self, stack: AsyncExitStack, url: str) -> None:
        self._stack = stack
        self._url = url
        self.healths: list[Health] = []

    async def one(self, *, leave: float = 0.0, local: LocalBuckets | None = None) -> Buckets:
        clock = SystemClock()
        self.healths.append(Health(clock))
        opened = open_buckets(self._url, local=local, clock=clock, health=self.healths[-1], leave=leave)
        return await self._stack.enter_async_context(opened)

    async def redis_level(self, number: int) -> Level:
        component = self.healths[number].components["redis_connection"]
        await self.healths[number].measure(component)
        return component.level


@pytest.fixture
async def shared(redis: RedisServer) -> AsyncIterator[Senders]:
    async with AsyncExitStack() as stack:
        yield Senders(stack, redis.url)


async def _all_of(bucket: Bucket) -> int:
    """Takes whatever there is now."""
    return await bucket.reserve(1_000)


# Within a process


async def test_services_of_a_process_share_the_rate_of_their_bot() -> None:
    async with AsyncExitStack() as stack:
        senders, local = Senders(stack, ""), LocalBuckets()
        bridge = (await senders.one(local=local)).of(TOKEN, 10.0)
        relay = (await senders.one(local=local)).of(RENEWED, 10.0)
        other = (await senders.one(local=local)).of(ANOTHER, 10.0)
        assert await bridge.reserve(8) == 8
        assert await relay.reserve(8) == 2
        assert await other.reserve(8) == 8


async def test_services_that_know_nothing_of_each_other_each_have_the_whole_rate_and_say_so() -> None:
    async with AsyncExitStack() as stack:
        senders = Senders(stack, "")
        taken = [await (await senders.one()).of(TOKEN, 10.0).reserve(8) for _ in range(2)]
        assert taken == [8, 8]
        assert await senders.redis_level(0) is Level.UNKNOWN
        reading = senders.healths[0].components["redis_connection"].measurement
        assert reading.measured == {
            "reason": "not configured (REDIS_URL): the rate is this process's own",
        }


async def test_what_is_paid_for_is_beside_the_rate_and_no_bot_has_anothers() -> None:
    async with AsyncExitStack() as stack:
        rates = await Senders(stack, "").one(leave=1.0)
        free, paid = rates.of(TOKEN, 10.0), rates.paid(TOKEN, 20.0)
        assert (await _all_of(free), await _all_of(paid)) == (9, 20)
        assert await _all_of(rates.paid(RENEWED, 20.0)) == 0
        assert await _all_of(rates.paid(ANOTHER, 20.0)) == 20


# Through Redis


async def test_replicas_share_what_is_paid_for(shared: Senders) -> None:
    one, two = [(await shared.one(leave=1.0)).paid(TOKEN, 20.0) for _ in range(2)]
    assert await one.reserve(15) == 15
    assert await two.reserve(15) <= 6
    assert await shared.redis_level(0) is Level.HEALTHY
    assert await (await shared.one()).of(TOKEN, 20.0).reserve(15) == 15


async def test_services_and_replicas_share_the_rate_through_redis_by_the_bot_not_by_the_service(
    shared: Senders,
) -> None:
    bridge, replica, relay = [(await shared.one()).of(TOKEN, 20.0) for _ in range(3)]
    other = (await shared.one()).of(ANOTHER, 20.0)
    assert await bridge.reserve(15) == 15
    assert await replica.reserve(15) + await relay.reserve(15) <= 6
    assert await other.reserve(15) == 15
    assert await shared.redis_level(0) is Level.HEALTHY


async def test_an_alert_never_waits_for_a_backlog_that_takes_all_there_is(shared: Senders) -> None:
    bulk = (await shared.one(leave=buckets.LEFT_FOR_ALERTS)).of(TOKEN, 20.0)
    alerts = (await shared.one()).of(TOKEN, 20.0)
    for _ in range(20):
        await _all_of(bulk)
        assert await alerts.reserve(1) == 1
        await asyncio.sleep(alerts.wait_seconds())  # as the worker does


async def test_a_pause_that_telegram_asked_of_one_holds_for_all(shared: Senders) -> None:
    bridge, relay = [(await shared.one()).of(TOKEN, 20.0) for _ in range(2)]
    await bridge.pause(5.0)
    assert await relay.reserve(1) == 0
    assert 4.0 < relay.wait_seconds() <= 5.0


async def test_without_redis_each_goes_on_with_its_share_and_together_they_keep_the_rate(
    shared: Senders, redis: RedisServer
) -> None:
    senders = [(await shared.one()).of(TOKEN, 30.0) for _ in range(3)]
    for _ in range(2):
        for bucket in senders:
            await bucket.reserve(1)
    redis.kill()
    clock = SystemClock()
    started = clock.monotonic()
    granted = 0
    while clock.monotonic() - started < 1.0:
        granted += sum([await _all_of(bucket) for bucket in senders])
        await asyncio.sleep(min(bucket.wait_seconds() for bucket in senders))
    passed = clock.monotonic() - started
    # Nobody starts with a full second's worth: that was spent through Redis.
    assert granted <= 30.0 * passed + len(senders)
    assert granted >= 10
    assert await shared.redis_level(0) is Level.DEGRADED


async def test_a_redis_that_is_lost_and_back_is_measured_at_once(shared: Senders, redis: RedisServer) -> None:
    rates = await shared.one()
    bucket = rates.of(TOKEN, 30.0)
    await bucket.reserve(1)
    assert not rates.changed.is_set()
    redis.kill()
    await bucket.reserve(1)
    assert rates.changed.is_set()
    rates.changed.clear()
    redis.start()

    async def back() -> bool:
        await bucket.reserve(1)
        return rates.changed.is_set()

    await until(back)
    assert shared.healths[0].components["redis_connection"].wake is rates.changed


async def test_redis_that_comes_back_is_shared_again(shared: Senders, redis: RedisServer) -> None:
    bridge, relay = [(await shared.one()).of(TOKEN, 30.0) for _ in range(2)]
    redis.kill()
    await _all_of(bridge)
    await _all_of(relay)
    assert await shared.redis_level(0) is Level.DEGRADED
    redis.start()

    async def shared_again() -> bool:
        await bridge.reserve(1)
        await relay.reserve(1)
        return {await shared.redis_level(0), await shared.redis_level(1)} == {Level.HEALTHY}

    await until(shared_again)
    await _all_of(bridge)
    assert await relay.reserve(30) <= 2


async def test_a_sender_that_starts_while_redis_is_away_sends_all_the_same() -> None:
    async with AsyncExitStack() as stack:
        senders = Senders(stack, f"redis://127.0.0.1:{free_port()}/0")
        bucket = (await senders.one()).of(TOKEN, 30.0)

        async def granted() -> int:
            return await _all_of(bucket)

        assert await until(granted, patience=5.0) > 0
        assert await senders.redis_level(0) is Level.DEGRADED


async def test_a_redis_that_never_answers_is_asked_once_a_second_and_not_waited_for() -> None:
    asked: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: asked.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clock = ManualClock()
    client = redis_bucket.connect(f"redis://127.0.0.1:{port}/0")
    bucket = redis_bucket.RedisBucket(client, "1", "here", 30.0, clock)
    for seconds in (0.0, redis_bucket.RETRY_SECONDS / 2, redis_bucket.RETRY_SECONDS):
        clock.advance(seconds)
        async with asyncio.timeout(HANGS):
            await bucket.reserve(1)
    assert len(asked) == 2
    await client.aclose()
    for writer in asked:
        writer.close()
    server.close()
    await server.wait_closed()
