"""What a careless or hostile caller meets: a rate limit, and a block after wrong keys or passwords.

State is per process and bounded: the callers that were heard of longest ago are forgotten first.
"""

from collections import OrderedDict
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter

from services.kit.clock import Clock
from services.kit.errors import Problem

log = structlog.get_logger()

KNOWN_CALLERS = 10_000
FAILURES_BEFORE_BLOCK = 10
FAILURE_WINDOW_SECONDS = 300.0
BLOCK_SECONDS = 300.0


@dataclass(slots=True)
class Bucket:
    """Fractional tokens on a monotonic clock: at a rate of 1/s a token is there after exactly 1 s."""

    tokens: float
    updated: float

    def take(self, now: float, rate: float, burst: float) -> float:
        """Takes one token; answers 0, or the seconds until there is one (and then takes none)."""
        self.tokens = min(burst, self.tokens + (now - self.updated) * rate)
        self.updated = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


@dataclass(slots=True)
class Failures:
    count: int
    since: float
    blocked_until: float = 0.0


class Guard:
    """Counts and refuses.

    Args:
        registry: of the service.
        clock: monotonic times are used.
        per_second: requests a second that one caller may make on average; 0 is no limit.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock, per_second: float = 0.0) -> None:
        self._rate = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._failures: OrderedDict[str, Failures] = OrderedDict()
        self._failed = Counter(
            "auth_failed_attempts",
            "Requests and logins with a missing or wrong key, signature or password",
            registry=registry,
        )
        self._hits = Counter(
            "rate_limit_hits",
            "Requests answered with status 429, over a rate limit or from a blocked address",
            registry=registry,
        )
        self._blocks = Counter(
            "suspicious_ip_blocks", "Addresses blocked after repeated failed logins", registry=registry
        )

    def admit(self, caller: str, per_second: float | None = None) -> None:
        """Lets a request pass.

        Args:
            caller: who asks.
            per_second: the caller's own rate; None: that of all; 0: no limit.

        Raises:
            Problem: 429 with ``Retry-After``, the caller is over its rate.
        """
        rate = self._rate if per_second is None else per_second
        if not rate:
            return
        now = self._clock.monotonic()
        burst = max(1.0, 2 * rate)
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = Bucket(burst, now)
            _forget_oldest(self._buckets)
        else:
            self._buckets.move_to_end(caller)
        wait = bucket.take(now, rate, burst)
        if wait:
            raise self._too_many(wait, "You are over this service's rate limit.")

    def check_blocked(self, address: str) -> None:
        """Refuses an address that failed to log in too often.

        Raises:
            Problem: 429 with ``Retry-After``.
        """
        failures = self._failures.get(address)
        wait = failures.blocked_until - self._clock.monotonic() if failures else 0.0
        if wait > 0:
            raise self._too_many(wait, "Too many failed logins from this address.")

    def failed(self, address: str, path: str) -> None:
        """Notes a failed login; the tenth within five minutes blocks the address for five.

        Args:
            address: where it came from.
            path: what it was for.
        """
        self._failed.inc()
        now = self._clock.monotonic()
        failures = self._failures.get(address)
        if failures is None or now - failures.since > FAILURE_WINDOW_SECONDS:
            failures = self._failures[address] = Failures(0, now)
            _forget_oldest(self._failures)
        self._failures.move_to_end(address)
        failures.count += 1
        if failures.blocked_until > now:  # in the log already
            return
        log.info("login_failed", address=address, path=path)
        if failures.count >= FAILURES_BEFORE_BLOCK:
            failures.blocked_until = now + BLOCK_SECONDS
            self._blocks.inc()
            log.warning("address_blocked", address=address, seconds=BLOCK_SECONDS)

    def _too_many(self, wait: float, detail: str) -> Problem:
        self._hits.inc()
        return Problem(429, "Too Many Requests", detail, headers={"Retry-After": str(int(wait) + 1)})


def _forget_oldest(known: "OrderedDict[str, Bucket] | OrderedDict[str, Failures]") -> None:
    if len(known) > KNOWN_CALLERS:
        known.popitem(last=False)
