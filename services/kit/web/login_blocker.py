"""Blocks an address after repeated failed logins, by a wrong key, signature or password.

Addresses of IPv6 are counted by their /64 network, since a client has a whole one. Failed passwords block the
account for that network only, so they cannot shut the account's owner out elsewhere.

The state is per process and bounded: the address that failed longest ago is forgotten first.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from services.kit.clock import Clock
from services.kit.web.rate_limit import SecurityMetrics

log = structlog.get_logger()

KNOWN_ADDRESSES = 10_000
FAILURES_BEFORE_BLOCK = 10
#: Of all accounts together, from one address.
FAILURES_OF_ALL_ACCOUNTS = 50
FAILURE_WINDOW_SECONDS = 300.0
BLOCK_SECONDS = 300.0
#: A network, and an account, None for keys, or the following for all accounts.
Subject = tuple[str, object]
ALL_ACCOUNTS = object()


def network_of(address: str) -> str:
    """What an address is counted by: itself, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # "unknown", or what a trusted proxy wrote
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@dataclass(slots=True)
class Failures:
    """Failed logins from one network; times are monotonic seconds."""

    count: int
    since: float
    blocked_until: float = 0.0


class LoginBlocker:
    """Counts failed logins by address, and by address and account where there are accounts.

    The tenth failure within five minutes blocks the address, or the account for that address, for five
    minutes. The fiftieth failure from one address for any accounts blocks all accounts for it.

    Args:
        metrics: of the service.
        clock: monotonic times are used.
    """

    def __init__(self, metrics: SecurityMetrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._failures: OrderedDict[Subject, Failures] = OrderedDict()

    def check(self, address: str, account: str | None = None) -> None:
        """Refuses a blocked address.

        Args:
            address: of the caller.
            account: that the caller logs in to; None: with a key.

        Raises:
            Problem: 429 with ``Retry-After``.
        """
        now = self._clock.monotonic()
        found = [self._failures.get(subject) for subject, _ in _subjects(address, account)]
        wait = max((failures.blocked_until - now for failures in found if failures), default=0.0)
        if wait > 0:
            raise self._metrics.too_many(wait, "Too many failed logins from this address.")

    def record_probe(self) -> None:
        """Counts a refused request of mcp-health, which tests the authentication; it blocks no address."""
        self._metrics.refused_probes.inc()

    def failures(self, address: str, account: str | None = None) -> int:
        """Failed logins from this address within the last five minutes."""
        now = self._clock.monotonic()
        found = [self._failures.get(subject) for subject, _ in _subjects(address, account)]
        counts = [one.count for one in found if one and now - one.since <= FAILURE_WINDOW_SECONDS]
        return max(counts, default=0)

    def record_failure(self, address: str, path: str, account: str | None = None) -> None:
        """Counts a failed login, and blocks the address when there are too many.

        Args:
            address: of the caller.
            path: of the request.
            account: that the caller tried; None: a key. It is not logged: it may be a password.
        """
        self._metrics.failed_logins.inc()
        now = self._clock.monotonic()
        counted = [(self._count(subject, now), most) for subject, most in _subjects(address, account)]
        if any(failures.blocked_until > now for failures, _ in counted):  # the log has it already
            return
        log.info("login_failed", address=address, path=path)
        exceeded = [failures for failures, most in counted if failures.count >= most]
        if exceeded:
            for failures in exceeded:
                failures.blocked_until = now + BLOCK_SECONDS
            self._metrics.blocked.inc()
            log.warning("address_blocked", address=address, seconds=BLOCK_SECONDS)

    def _count(self, subject: Subject, now: float) -> Failures:
        failures = self._failures.get(subject)
        if failures is None or now - failures.since > FAILURE_WINDOW_SECONDS:
            failures = self._failures[subject] = Failures(0, now)
            if len(self._failures) > KNOWN_ADDRESSES:
                self._failures.popitem(last=False)
        self._failures.move_to_end(subject)
        failures.count += 1
        return failures


def _subjects(address: str, account: str | None) -> tuple[tuple[Subject, int], ...]:
    """What a failed login counts for, each with the number of failures that blocks it."""
    network = network_of(address)
    if account is None:
        return (((network, None), FAILURES_BEFORE_BLOCK),)
    return (
        ((network, account), FAILURES_BEFORE_BLOCK),
        ((network, ALL_ACCOUNTS), FAILURES_OF_ALL_ACCOUNTS),
    )
