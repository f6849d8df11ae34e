"""The severity label of an alert, and how urgent it makes a notification. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from services.outbox.messages import Lane

#: The same as in the routes of alertmanager/alertmanager.yml.
LOUD = frozenset(
    {"critical", "page", "emergency", "fatal", "disaster", "blocker", "urgent", "alert", "error", "high"}
    | {f"{scale}{number}" for scale in ("p", "sev", "sev-", "s") for number in (0, 1, 2)}
)
_QUIET = frozenset(
    {"info", "informational", "information", "none", "debug", "low", "notice"}
    | {f"{scale}{number}" for scale in ("p", "sev", "sev-", "s") for number in (4, 5)}
)


class Urgency(StrEnum):
    """How urgent a notification is.

    It depends on the alert's labels alone, so it is the same for a whole episode: a resolution uses the
    lane of its alert and cannot arrive before it.
    """

    LOUD = "loud"
    NORMAL = "normal"
    QUIET = "quiet"  #: without a sound

    @property
    def order(self) -> int:
        """0 for the most urgent one."""
        return list(Urgency).index(self)

    @property
    def lane(self) -> Lane:
        return Lane.URGENT if self is Urgency.LOUD else Lane.NORMAL

    @property
    def silent(self) -> bool:
        return self is Urgency.QUIET


def urgency_of(severity: str) -> Urgency:
    """Returns the urgency of a lower-case severity label; an unknown one is normal.

    Scales with numbers, such as P1 and SEV-2, are read too: 0 to 2 are loud, 4 and 5 are quiet.
    """
    if severity in LOUD:
        return Urgency.LOUD
    return Urgency.QUIET if severity in _QUIET else Urgency.NORMAL


def worst(severities: Iterable[str]) -> str:
    """Returns the most urgent severity, and of equally urgent ones the first."""
    return min(severities, key=lambda severity: urgency_of(severity).order, default="")
