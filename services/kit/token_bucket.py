"""Token bucket: a rate limit with fractional tokens. Pure: the caller passes the time and stores the bucket.

The caller chooses the clock. A monotonic clock suits a bucket in memory, wall time one in a database row:
when that clock is set back, tokens are neither added nor removed.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """A bucket that refills at a constant rate.

    Args:
        rate: tokens a second; 0 means no limit.
        burst: capacity in tokens, at least 1.
        tokens: content at ``updated_at``; below 0 after :meth:`spend` of an empty bucket.
        updated_at: time of the last refill, seconds on the caller's clock.
    """

    rate: float
    burst: float
    tokens: float
    updated_at: float

    def take(self, now: float, count: int = 1, *, leave: float = 0.0) -> int:
        """Takes up to ``count`` whole tokens and returns how many it took.

        Args:
            now: seconds on the caller's clock.
            count: tokens to take, at most.
            leave: tokens that must remain for senders of higher priority.
        """
        self._refill(now)
        if self.rate <= 0:
            return count
        taken = max(0, min(count, int(self.tokens - leave)))
        self.tokens -= taken
        return taken

    def spend(self, now: float) -> None:
        """Takes one token for something that has happened already, even if that leaves a debt."""
        self._refill(now)
        if self.rate > 0:
            self.tokens -= 1.0

    def give_back(self, unused: int) -> None:
        """Returns tokens that were taken and not used, up to the capacity."""
        self.tokens = min(self.burst, self.tokens + unused)

    def wait_seconds(self, now: float, *, leave: float = 0.0) -> float:
        """Returns the seconds from ``now`` until ``take`` would succeed."""
        self._refill(now)
        return max(0.0, (1.0 + leave - self.tokens) / self.rate) if self.rate > 0 else 0.0

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self.updated_at)
        self.tokens = min(self.burst, self.tokens + elapsed * self.rate) if self.rate > 0 else self.burst
        self.updated_at = now


def leave_within(burst: float, leave: float) -> float:
    """Returns how many tokens a sender can leave to others and still send.

    Args:
        burst: capacity of the bucket: a slow bucket holds one token, and leaving that would stop the sender.
        leave: tokens that the sender means to leave.
    """
    return min(leave, burst - 1.0)
