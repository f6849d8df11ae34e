"""The dead man's switch: people are told when the sign of life stays away, and when it is back.

Prometheus and Alertmanager cannot tell of their own death, so this goes past both. It is an incident like
any other, opened and closed by the relay itself: told once, and remembered across restarts.
"""

import hashlib
from typing import Protocol

import structlog

from services.alert_relay.episodes import Alert, Heard
from services.kit.clock import Clock, rfc3339

log = structlog.get_logger()

NAME = "WatchdogSilent"


class Teller(Protocol):
    """The relay, as far as it is needed here."""

    async def tell_of(self, heard: Heard) -> None: ...


class DeadMan:
    """See the module.

    Args:
        relay: stores and tells.
        max_age: seconds that a sign of life may be old.
        clock: the time.
    """

    def __init__(self, relay: Teller, max_age: float, clock: Clock) -> None:
        self._relay = relay
        self._max_age = max_age
        self._clock = clock
        # A relay that was away itself has to listen first.
        self._listens_since = clock.time()
        self._told: dict[str, bool] = {}

    async def look(self, beats: dict[str, float]) -> None:
        """Tells what has changed.

        Args:
            beats: when each cluster's sign of life came last; one that never came is none that stopped.

        Raises:
            Problem: 503, it is not known to be stored; the next look tells it.
        """
        now = self._clock.time()
        for cluster, beat_at in beats.items():
            silent = now - max(beat_at, self._listens_since) > self._max_age
            heard_again = now - beat_at <= self._max_age
            told = self._told.get(cluster)
            if (not silent and not heard_again) or told is silent:
                continue
            # Unknown after a start: it may have been told before that it is silent.
            await self._relay.tell_of(self._heard(cluster, beat_at, now, silent=silent))
            self._told[cluster] = silent
            if silent:
                log.error("sign_of_life_missing", cluster=cluster)
            elif told:
                log.info("sign_of_life_back", cluster=cluster)

    def _heard(self, cluster: str, beat_at: float, now: float, *, silent: bool) -> Heard:
        labels = {"alertname": NAME, "severity": "critical", "service": "alert-path", "alertmanager": cluster}
        alert = Alert(
            fingerprint=hashlib.sha256(f"{NAME} {cluster}".encode()).hexdigest()[:16],
            firing=silent,
            labels=labels,
            annotations={
                "summary": "Prometheus or Alertmanager gives no sign of life",
                "description": (
                    f"The Watchdog alert came last at {rfc3339(beat_at)}. No other alert can be trusted"
                    " to arrive until it is back."
                ),
                "runbook_url": "docs/runbook.md#watchdog",
            },
            starts_at=beat_at,
            ends_at=None if silent else now,
        )
        # No address: Alertmanager, which knows nothing of this alert, could not silence it.
        return Heard(cluster, NAME, {"alertname": NAME}, "", "", "", "", 0, (alert,))
