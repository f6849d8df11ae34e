"""Blocks an address after repeated failed logins, by a wrong key, signature or password.

The state is per process and bounded: the address that failed longest ago is forgotten first.
"""

from collections import OrderedDict
from dataclasses import dataclass

import structlog

from services.kit.clock import Clock
from services.kit.web.rate_limit import SecurityMetrics

log = structlog.get_logger()

KNOWN_ADDRESSES = 10_000
FAILURES_BEFORE_BLOCK = 10
FAILURE_WINDOW_SECONDS = 300.0
BLOCK_SECONDS = 300.0


@dataclass(slots=True)
class Failures:
    """Failed logins of one address; times are monotonic seconds."""

    count: int
    since: float
    blocked_until: float = 0.0


class LoginBlocker:
    """Counts failed logins by address; the tenth within five minutes blocks the address for five.

    Args:
        metrics: of the service.
        clock: monotonic times are used.
    """

    def __init__(self, metrics: SecurityMetrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def check(self, address: str) -> None:
        """Refuses a blocked address.

        Raises:
            Problem: 429 with ``Retry-After``.
        """
        failures = self._failures.get(address)
        wait = failures.blocked_until - self._clock.monotonic() if failures else 0.0
        if wait > 0:
            raise self._metrics.too_many(wait, "Too many failed logins from this address.")

    def record_probe(self) -> None:
        """Counts a refused request of mcp-health, which tests the authentication; it blocks no address."""
        self._metrics.refused_probes.inc()

    def record_failure(self, address: str, path: str) -> None:
        """Counts a failed login, and blocks the address when there are too many.

        Args:
            address: of the caller.
            path: of the request.
        """
        self._metrics.failed_logins.inc()
        now = self._clock.monotonic()
        failures = self._of(address, now)
        failures.count += 1
        if failures.blocked_until > now:  # the log has it already
            return
        log.info("login_failed", address=address, path=path)
        if failures.count >= FAILURES_BEFORE_BLOCK:
            failures.blocked_until = now + BLOCK_SECONDS
            self._metrics.blocked.inc()
            log.warning("address_blocked", address=address, seconds=BLOCK_SECONDS)

    def _of(self, address: str, now: float) -> Failures:
        failures = self._failures.get(address)
        if failures is None or now - failures.since > FAILURE_WINDOW_SECONDS:
            failures = self._failures[address] = Failures(0, now)
            if len(self._failures) > KNOWN_ADDRESSES:
                self._failures.popitem(last=False)
        self._failures.move_to_end(address)
        return failures
