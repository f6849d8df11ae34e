"""Pace of the chats of a bot in Redis, shared by all its senders.

Where Redis does not answer, each sender keeps the pace of its own rows; Redis is tried again every second.
"""

from collections.abc import Mapping, Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.clock import Clock
from services.outbox.rate_limit.chat_pace import ChatCall
from services.outbox.rate_limit.limits import MINUTE, Limits, is_group
from services.outbox.rate_limit.redis_bucket import RETRY_SECONDS

log = structlog.get_logger()

# KEYS: one a chat.  ARGV: messages a second, burst, messages a second to a group, its burst; then for each
# chat the seconds since its call, and 1 for a group.
# Returns: for each chat microseconds until it has a token again.
_SPEND = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local function spend(tokens, passed, rate, burst)
  if rate <= 0 then return burst, 0 end
  tokens = math.min(burst, (tonumber(tokens) or burst) + passed * rate) - 1
  return tokens, math.max(0, (1 - tokens) / rate)
end
local waits = {}
for n, key in ipairs(KEYS) do
  local sent, group = now - tonumber(ARGV[3 + 2 * n]), ARGV[4 + 2 * n] == '1'
  local there = redis.call('HMGET', key, 'tokens', 'group', 'at')
  local at = tonumber(there[3]) or sent
  local passed = math.max(0, sent - at)
  -- Senders report their calls late: this one may have begun before the last one did.
  sent = math.max(sent, at)
  local tokens, wait = spend(there[1], passed, tonumber(ARGV[1]), tonumber(ARGV[2]))
  if group then
    local of_group, longer = spend(there[2], passed, tonumber(ARGV[3]), tonumber(ARGV[4]))
    wait = math.max(wait, longer)
    redis.call('HSET', key, 'group', string.format('%.9f', of_group))
  end
  redis.call('HSET', key, 'tokens', string.format('%.9f', tokens), 'at', string.format('%.6f', sent))
  -- Full again a minute after it has a token: then the key says nothing.
  redis.call('EXPIRE', key, math.ceil(wait) + 60)
  waits[n] = math.ceil(math.max(0, sent + wait - now) * 1000000)
end
return waits
"""


class RedisChatPace:
    """A :class:`~services.outbox.rate_limit.chat_pace.ChatPace` in Redis.

    Args:
        redis: a client, which the caller closes.
        bot: names the keys; the same for all senders of the bot.
        clock: its monotonic time is used.
    """

    def __init__(self, redis: Redis, bot: str, clock: Clock) -> None:
        self._prefix = f"cctelegram:pace:{{{bot}}}:chat"
        self._clock = clock
        self._spend = redis.register_script(_SPEND)
        self._retry_at = 0.0

    async def spend(self, calls: Sequence[ChatCall], limits: Limits, now: float) -> Mapping[int, float]:
        if not calls or self._retry_at > self._clock.monotonic():
            return {}
        keys = [f"{self._prefix}:{call.chat_id}" for call in calls]
        of_group = limits.group_per_minute
        arguments = [limits.chat_per_second, limits.chat_burst, of_group / MINUTE, of_group]
        for call in calls:
            arguments += [max(0.0, now - call.at), int(is_group(call.chat_id))]
        try:
            waits = await self._spend(keys, arguments)
        except (RedisError, OSError, TimeoutError) as error:
            if not self._retry_at:
                log.warning("chat_pace_not_shared", error=str(error))
            self._retry_at = self._clock.monotonic() + RETRY_SECONDS
            return {}
        if self._retry_at:
            log.info("chat_pace_shared_again")
            self._retry_at = 0.0
        return {call.chat_id: now + int(wait) / 1e6 for call, wait in zip(calls, waits, strict=True)}
