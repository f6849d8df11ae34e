"""Which targets an incident has, and what comes next while no person acknowledges it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.alert_relay.channels.target import Target
from services.alert_relay.incidents.incident import Incident

#: A notification that has not arrived after so many seconds is sent to others.
RECEIPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """The next level of escalation of an incident.

    Args:
        level: from 0.
        round: how often all levels were gone through before.
        due_at: seconds since the epoch.
    """

    level: int
    round: int
    due_at: float


class Router(Protocol):
    """Decides who is notified of an incident; made from the settings."""

    def policy(self, labels: Mapping[str, str]) -> str:
        """Returns the name of the policy for an incident.

        Args:
            labels: the labels that all its alerts share.
        """
        ...

    def targets(self, policy: str, level: int, at: float) -> tuple[Target, ...]:
        """Returns the targets of a level, each once; empty: it has none at that time.

        Args:
            policy: name of a policy; of one that no longer exists the default one counts.
            level: from 0.
            at: seconds since the epoch, for schedules.
        """
        ...

    def next_step(self, incident: Incident) -> Step | None:
        """Returns what comes after the level that the incident has reached; None: nothing."""
        ...

    def fallback(self, policy: str) -> tuple[Target, ...]:
        """Returns the targets that are notified when no notification has arrived."""
        ...

    def receipt_seconds(self, policy: str) -> float:
        """Returns the time within which a notification must have arrived."""
        ...


@dataclass(frozen=True, slots=True)
class ToAll:
    """Notifies the same targets of each incident, once.

    Args:
        all: the targets.
        others: targets that are notified when no notification has arrived.
    """

    all: tuple[Target, ...]
    others: tuple[Target, ...] = ()

    def policy(self, labels: Mapping[str, str]) -> str:  # noqa: ARG002 - protocol
        return ""

    def targets(self, policy: str, level: int, at: float) -> tuple[Target, ...]:  # noqa: ARG002 - protocol
        return () if level else self.all

    def next_step(self, incident: Incident) -> Step | None:  # noqa: ARG002 - protocol
        return None

    def fallback(self, policy: str) -> tuple[Target, ...]:  # noqa: ARG002 - protocol
        return self.others

    def receipt_seconds(self, policy: str) -> float:  # noqa: ARG002 - protocol
        return RECEIPT_SECONDS
