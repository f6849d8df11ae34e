"""Token bucket of a bot: what every bucket can do, and the one that is local to this process."""

import copy
from dataclasses import dataclass
from typing import Protocol

from services.kit.clock import Clock
from services.kit.token_bucket import TokenBucket, leave_within


class Bucket(Protocol):
    """A bot's rate limit, shared by all senders that use the bot."""

    async def reserve(self, count: int) -> int:
        """Takes up to ``count`` tokens; returns how many, 0 when none is there now."""

    async def give_back(self, unused: int) -> None:
        """Returns tokens that no message needed."""

    async def pause(self, seconds: float) -> None:
        """Grants nothing for this long: Telegram refused the bot as a whole."""

    def wait_seconds(self) -> float:
        """Returns the seconds until a token is there."""


@dataclass(slots=True)
class _Shared:
    """What all views of one local bucket have in common."""

    bucket: TokenBucket
    paused_until: float = 0.0


class LocalBucket:
    """A :class:`Bucket` in the memory of this process.

    Args:
        per_second: messages a second; 0 means no limit.
        clock: its monotonic time is used.
        full: whether the bucket starts with the tokens of one second, or empty.
    """

    def __init__(self, per_second: float, clock: Clock, *, full: bool = True) -> None:
        burst = max(1.0, per_second)
        tokens = burst if full else 0.0
        self._clock = clock
        self._shared = _Shared(TokenBucket(per_second, burst, tokens, clock.monotonic()))
        self._leave = 0.0

    def leaving(self, tokens: float) -> "LocalBucket":
        """Returns a view of the bucket that leaves this many tokens for senders of higher priority."""
        view = copy.copy(self)
        view._leave = leave_within(self._shared.bucket.burst, tokens)  # noqa: SLF001 - of the same class
        return view

    async def reserve(self, count: int) -> int:
        now = self._clock.monotonic()
        if now < self._shared.paused_until:
            return 0
        return self._shared.bucket.take(now, count, leave=self._leave)

    async def give_back(self, unused: int) -> None:
        self._shared.bucket.give_back(unused)

    async def pause(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        self._shared.paused_until = max(self._shared.paused_until, until)

    def wait_seconds(self) -> float:
        now = self._clock.monotonic()
        paused = self._shared.paused_until - now
        return max(paused, self._shared.bucket.wait_seconds(now, leave=self._leave))
