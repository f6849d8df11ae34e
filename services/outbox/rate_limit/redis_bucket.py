"""Token bucket of a bot in Redis, shared by all its senders; without Redis each sender uses its share.

Redis's clock refills the bucket, so the senders' clocks need not agree. When Redis does not answer, a sender
divides the rate by the number of senders that Redis counted last, and tries Redis again every second.
"""

from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.clock import Clock
from services.kit.token_bucket import leave_within
from services.outbox.rate_limit.bot_bucket import LocalBucket

log = structlog.get_logger()

#: Seconds after a failure until Redis is tried again.
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 0.5

# KEYS: bucket, pause, replicas.  ARGV: rate, burst, count, this replica, tokens to leave.
# Returns: granted, microseconds until there is a whole token, replicas alive.
_RESERVE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
redis.call('ZADD', KEYS[3], now, ARGV[4])
-- A sender without a call for ten seconds is not counted any more.
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - 10)
redis.call('EXPIRE', KEYS[3], 60)
local alive = redis.call('ZCARD', KEYS[3])
local paused = tonumber(redis.call('GET', KEYS[2]) or '0') - now
if paused > 0 then return {0, math.ceil(paused * 1000000), alive} end
local rate, burst, count, leave = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1] or burst)
tokens = math.min(burst, tokens + math.max(0, now - tonumber(bucket[2] or now)) * rate)
local granted = math.max(0, math.min(count, math.floor(tokens - leave)))
tokens = math.min(burst, tokens - granted)
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 3600)
return {granted, math.ceil(math.max(0, (1 + leave - tokens) / rate) * 1000000), alive}
"""
_GIVE_BACK = """
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or ARGV[2])
local back = math.min(tonumber(ARGV[2]), tokens + tonumber(ARGV[1]))
return redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', back))
"""
_PAUSE = """
local now = redis.call('TIME')
local till = now[1] + now[2] / 1000000 + tonumber(ARGV[1])
if till > tonumber(redis.call('GET', KEYS[1]) or '0') then
  redis.call('SET', KEYS[1], string.format('%.6f', till), 'PX', math.ceil(tonumber(ARGV[1]) * 1000))
end
return 1
"""


class RedisBucket:
    """A :class:`~services.outbox.rate_limit.bot_bucket.Bucket` in Redis.

    Args:
        redis: a client, which the caller closes.
        bot: names the bucket; the same for all senders of the bot.
        replica: unique name of this sender.
        per_second: messages a second of the bot, over all senders.
        clock: its monotonic time is used.
        leave: tokens that this sender leaves for others.
        changed: is called when Redis is lost, and when it is back.
    """

    def __init__(
        self,
        redis: Redis,
        bot: str,
        replica: str,
        per_second: float,
        clock: Clock,
        *,
        leave: float = 0.0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._redis = redis
        self._replica = replica
        self._rate = per_second
        self._burst = max(1.0, per_second)
        self._leave = leave_within(self._burst, leave)
        self._clock = clock
        self._changed = changed
        self._bucket, self._paused, self._replicas = (
            f"cctelegram:pace:{{{bot}}}:{part}" for part in ("bucket", "paused", "replicas")
        )
        self._reserve = redis.register_script(_RESERVE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self._pause = redis.register_script(_PAUSE)
        self._share = LocalBucket(per_second, clock)
        self._retry_at = 0.0
        self._wait = 0.0
        self.replicas = 1

    @property
    def shared(self) -> bool:
        """Whether the last call reached Redis; if not, this sender uses its share of the rate."""
        return not self._retry_at

    async def reserve(self, count: int) -> int:
        if not self._rate:
            return count
        if self._retry_at > self._clock.monotonic():
            return await self._share.reserve(count)
        keys = [self._bucket, self._paused, self._replicas]
        arguments: list[str | int | float] = [self._rate, self._burst, count, self._replica, self._leave]
        try:
            granted, wait, alive = await self._reserve(keys, arguments)
        except (RedisError, OSError, TimeoutError) as error:
            return await self._reserve_of_share(count, error)
        if self._retry_at:
            log.info("rate_limit_shared_again")
            self._retry_at = 0.0
            self._changed()
        self.replicas = max(1, int(alive))
        self._wait = int(wait) / 1e6
        return int(granted)

    async def _reserve_of_share(self, count: int, error: Exception) -> int:
        if self.shared:
            log.warning("rate_limit_not_shared", error=str(error), replicas=self.replicas)
            self._share = LocalBucket(self._rate / self.replicas, self._clock, full=False)
            self._changed()
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        return await self._share.reserve(count)

    async def give_back(self, unused: int) -> None:
        if not unused or not self._rate:
            return
        if not self.shared:
            await self._share.give_back(unused)
            return
        try:
            await self._give_back([self._bucket], [unused, self._burst])
        except (RedisError, OSError, TimeoutError):
            # Lost tokens only delay a few messages; reserve() notices and reports that Redis is gone.
            log.debug("tokens_not_given_back", unused=unused)

    async def pause(self, seconds: float) -> None:
        await self._share.pause(seconds)
        try:
            await self._pause([self._paused], [seconds])
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("pause_not_shared", error=str(error))

    def wait_seconds(self) -> float:
        return self._wait if self.shared else self._share.wait_seconds()


def connect(url: str) -> Redis:
    """Returns a client with short timeouts: the rate has a fallback, so no sender should wait for Redis."""
    client: Redis = Redis.from_url(
        url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, max_connections=10
    )
    return client
