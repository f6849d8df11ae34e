"""Rate limit of callers, and the security metrics of every service.

The state is per process and bounded: the caller that was seen longest ago is forgotten first.
"""

from collections import OrderedDict

from prometheus_client import CollectorRegistry, Counter

from services.kit.clock import Clock
from services.kit.errors import Problem
from services.kit.token_bucket import TokenBucket

KNOWN_CALLERS = 10_000


class SecurityMetrics:
    """Counts of failed logins, of requests refused with status 429, and of blocked addresses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failed_logins = Counter(
            "auth_failed_attempts",
            "Requests and logins with a missing or wrong key, signature or password",
            registry=registry,
        )
        self.refused_probes = Counter(
            "auth_probes_refused",
            "Refused requests by which mcp-health tests the authentication; they are no failed logins",
            registry=registry,
        )
        self.refused = Counter(
            "rate_limit_hits",
            "Requests answered with status 429, over a rate limit or from a blocked address",
            registry=registry,
        )
        self.blocked = Counter(
            "suspicious_ip_blocks", "Addresses blocked after repeated failed logins", registry=registry
        )

    def too_many(self, seconds: float, detail: str) -> Problem:
        """Counts a refusal and returns the problem to raise: 429 with ``Retry-After``."""
        self.refused.inc()
        return Problem(429, "Too Many Requests", detail, headers={"Retry-After": str(int(seconds) + 1)})


class RateLimiter:
    """Limits the requests of each caller.

    Args:
        metrics: of the service.
        clock: monotonic times are used.
        per_second: requests a second that one caller may make on average; 0 is no limit.
    """

    def __init__(self, metrics: SecurityMetrics, clock: Clock, per_second: float = 0.0) -> None:
        self._metrics = metrics
        self._clock = clock
        self._rate = per_second
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def admit(self, caller: str, per_second: float | None = None) -> None:
        """Counts a request against the caller's rate; a burst of two seconds may pass at once.

        Args:
            caller: name of the key or client.
            per_second: the caller's own rate; None: the rate of all callers; 0: no limit.

        Raises:
            Problem: 429 with ``Retry-After``, the caller is over its rate.
        """
        rate = self._rate if per_second is None else per_second
        if not rate:
            return
        now = self._clock.monotonic()
        bucket = self._bucket(caller, rate, now)
        if not bucket.take(now):
            raise self._metrics.too_many(bucket.wait_seconds(now), "You are over this service's rate limit.")

    def _bucket(self, caller: str, rate: float, now: float) -> TokenBucket:
        burst = max(1.0, 2 * rate)
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = TokenBucket(rate, burst, burst, now)
            if len(self._buckets) > KNOWN_CALLERS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(caller)
            bucket.rate, bucket.burst = rate, burst
        return bucket
