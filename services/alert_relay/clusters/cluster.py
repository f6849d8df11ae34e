"""A cluster as a value. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The Watchdog alert of one Prometheus replica."""

    fingerprint: str
    labels: dict[str, str]
    received_at: float  #: seconds since the epoch


@dataclass(frozen=True, slots=True)
class StoredCluster:
    """A cluster; times are seconds since the epoch.

    Args:
        name: of the settings, else an external URL.
        created_at: when the settings named it first, or when its first webhook was received.
        received_at: when its last webhook was received; None: never.
        watchdog_at: when its last Watchdog alert was received; None: never.
        external_urls: the URLs that were joined to it.
        heartbeats: of its Prometheus replicas.
    """

    name: str
    created_at: float
    received_at: float | None
    watchdog_at: float | None
    external_urls: tuple[str, ...]
    heartbeats: tuple[Heartbeat, ...]
