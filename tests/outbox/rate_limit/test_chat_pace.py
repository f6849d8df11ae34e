"""One chat, one pace for all senders of its bot: within a process, through Redis, and while Redis is away."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.clock import SystemClock
from services.kit.health import Health
from services.outbox.rate_limit import chat_pace
from services.outbox.rate_limit.buckets import Buckets, LocalBuckets, open_buckets
from services.outbox.rate_limit.chat_pace import ChatCall, ChatPace, LocalChatPace
from services.outbox.rate_limit.limits import MINUTE, Limits
from tests.redis_server import RedisServer, running
from tests.servers import until

TOKEN, RENEWED, ANOTHER = "4200000001:one", "4200000001:two", "4200000002:three"
ADA, GRACE, TEAM = 1001, 1002, -2001
#: A message takes so long to be earned that the time which a test takes does not count.
EACH = 1_000.0
SLOW = Limits(chat_per_second=1 / EACH, chat_burst=1.0, group_per_minute=0.0)


def now() -> float:
    return SystemClock().time()


async def opened(stack: AsyncExitStack, url: str, local: LocalBuckets | None) -> Buckets:
    clock = SystemClock()
    return await stack.enter_async_context(open_buckets(url, local=local, clock=clock, health=Health(clock)))


@pytest.fixture(params=["in the process", "through Redis"])
async def services(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Buckets, Buckets]]:
    """Two services that send."""
    async with AsyncExitStack() as stack:
        url, local = "", LocalBuckets()
        if request.param == "through Redis":
            redis = stack.enter_context(running(tmp_path))
            await until(redis.answers)
            url = redis.url
        yield await opened(stack, url, local), await opened(stack, url, local)


async def waits(
    pace: ChatPace, *chat_ids: int, limits: Limits = SLOW, ago: float = 0.0, unit: float = EACH
) -> list[float]:
    """Reports a call to each chat; returns how long each has to wait then, in units, to half a unit."""
    at = now()
    calls = [ChatCall(chat_id, at - ago) for chat_id in chat_ids]
    open_at: Mapping[int, float] = await pace.spend(calls, limits, at)
    return [round(2 * (open_at[chat_id] - at) / unit) / 2 for chat_id in chat_ids]


async def test_a_chat_waits_for_the_messages_of_all_senders_of_its_bot(
    services: tuple[Buckets, Buckets],
) -> None:
    bridge, relay = (one.chats(token) for one, token in zip(services, (TOKEN, RENEWED), strict=True))
    assert await waits(bridge, ADA) == [1]
    assert await waits(relay, ADA, GRACE) == [2, 1]
    assert await waits(bridge, GRACE, ADA) == [2, 3]


async def test_another_bot_has_a_pace_of_its_own(services: tuple[Buckets, Buckets]) -> None:
    one, two = services
    assert await waits(one.chats(TOKEN), ADA) == [1]
    assert await waits(two.chats(ANOTHER), ADA) == [1]


async def test_senders_share_the_burst_of_a_quiet_chat(services: tuple[Buckets, Buckets]) -> None:
    bridge, relay = (one.chats(TOKEN) for one in services)
    limits = Limits(chat_per_second=1 / EACH, chat_burst=3.0, group_per_minute=0.0)
    found = [await waits(sender, ADA, limits=limits) for sender in (bridge, relay, bridge, relay)]
    assert found == [[0], [0], [1], [2]]


async def test_senders_share_what_a_group_takes_a_minute(services: tuple[Buckets, Buckets]) -> None:
    bridge, relay = (one.chats(TOKEN) for one in services)
    limits = Limits(chat_per_second=0.0, group_per_minute=1.0)
    assert await waits(bridge, TEAM, ADA, limits=limits, unit=MINUTE) == [1, 0]
    assert await waits(relay, TEAM, ADA, limits=limits, unit=MINUTE) == [2, 0]


async def test_the_slower_of_both_rates_counts_in_a_group(services: tuple[Buckets, Buckets]) -> None:
    bridge, relay = (one.chats(TOKEN) for one in services)
    # Three at once and then one in two minutes to a chat; one a minute to a group.
    limits = Limits(chat_per_second=0.5 / MINUTE, chat_burst=3.0, group_per_minute=1.0)
    senders = (bridge, relay, bridge, relay, bridge)
    found = [await waits(sender, TEAM, limits=limits, unit=MINUTE) for sender in senders]
    assert found == [[1], [2], [3], [4], [6]]


async def test_a_call_that_is_reported_late_counts_from_its_begin(services: tuple[Buckets, Buckets]) -> None:
    bridge, relay = (one.chats(TOKEN) for one in services)
    assert await waits(bridge, ADA, ago=EACH / 2) == [0.5]
    # It began before the call that was reported first, and is one more all the same.
    assert await waits(relay, ADA, ago=EACH) == [1.5]
    assert await waits(relay, ADA) == [2.5]


async def test_no_calls_take_nothing(services: tuple[Buckets, Buckets]) -> None:
    pace = services[0].chats(TOKEN)
    assert dict(await pace.spend([], SLOW, now())) == {}
    assert await waits(pace, ADA) == [1]


async def test_without_redis_nothing_is_known_and_nobody_waits_until_it_is_back(redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        bridge, relay = [(await opened(stack, redis.url, None)).chats(TOKEN) for _ in range(2)]
        assert await waits(bridge, ADA) == [1]
        redis.kill()
        for sender in (bridge, relay, bridge, relay):
            assert dict(await sender.spend([ChatCall(ADA, now())], SLOW, now())) == {}
        redis.start()

        def spends(sender: ChatPace) -> Callable[[], Awaitable[bool]]:
            async def known() -> bool:
                return bool(await sender.spend([ChatCall(GRACE, now())], SLOW, now()))

            return known

        for sender in (bridge, relay):
            await until(spends(sender))
        # It came back empty, but for the calls since.
        assert await waits(bridge, ADA) == [1]
        assert await waits(relay, ADA) == [2]


async def test_a_chat_that_may_have_its_whole_burst_again_is_forgotten(redis: RedisServer) -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=1.0, group_per_minute=0.0)
    pace = LocalChatPace()
    for number in range(3 * chat_pace.SMALLEST):
        await pace.spend([ChatCall(number, 100.0 * number)], limits, 100.0 * number)
    assert len(pace) <= chat_pace.SMALLEST + 1
    async with AsyncExitStack() as stack:
        await waits((await opened(stack, redis.url, None)).chats(TOKEN), ADA, limits=limits)
    (key,) = redis.keys()
    assert 0 < redis.seconds_left(key) <= chat_pace.FORGET_SECONDS + 2


#: When each sender looks at the chat for the first time, and how late it reports its calls.
SENDERS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 0.5)), min_size=1, max_size=5)


@given(SENDERS)
async def test_together_senders_keep_to_the_rate_of_a_chat(senders: list[tuple[float, float]]) -> None:
    """A sender looks after its call, so each may be one message early; then all wait for it."""
    pace, limits, end = LocalChatPace(), Limits(chat_per_second=1.0, group_per_minute=0.0), 60.0
    opens, times = [start for start, _ in senders], list[float]()
    while (at := min(opens)) < end:
        number = opens.index(at)
        times.append(at)
        found = await pace.spend([ChatCall(1, at)], limits, at + senders[number][1])
        opens[number] = max(found[1], at + senders[number][1])
    first = min(start for start, _ in senders)
    assert len(times) <= (end - first) * limits.chat_per_second + limits.chat_burst + len(senders)
    # They do not wait longer than that either.
    assert len(times) >= (end - first) / (1 + max(late for _, late in senders)) - len(senders)


def test_where_no_chat_is_limited_no_pace_is_needed() -> None:
    assert chat_pace.is_limited(Limits())
    assert chat_pace.is_limited(Limits(chat_per_second=0.0))
    assert not chat_pace.is_limited(Limits(chat_per_second=0.0, group_per_minute=0.0))
