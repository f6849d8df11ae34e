"""A policy of three levels for tests, as the settings may make it."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.alert_relay.channels.target import Target
from services.alert_relay.incidents.incident import Incident
from services.alert_relay.notifications.router import Step

ONCALL, TEAM, MANAGER, OTHERS = map(Target.telegram, (1001, 1002, 1003, 1009))


@dataclass(frozen=True)
class ThreeLevels:
    """The person on call at once, the team after 5 minutes, the manager after 15; again after an hour."""

    after: tuple[float, ...] = (0.0, 300.0, 900.0)
    levels: tuple[tuple[Target, ...], ...] = ((ONCALL,), (ONCALL, TEAM), (MANAGER,))
    again_after: float = 3_600.0
    rounds: int = 2
    others: tuple[Target, ...] = (OTHERS,)

    def policy(self, labels: Mapping[str, str]) -> str:
        return labels.get("team", "default")

    def targets(self, policy: str, level: int, at: float) -> tuple[Target, ...]:
        return self.levels[level]

    def next_step(self, incident: Incident) -> Step | None:
        since = (incident.escalates_from or 0.0) + incident.round * self.again_after
        if incident.level + 1 < len(self.levels):
            return Step(incident.level + 1, incident.round, since + self.after[incident.level + 1])
        if incident.round + 1 < self.rounds:
            return Step(0, incident.round + 1, since + self.again_after)
        return None

    def fallback(self, policy: str) -> tuple[Target, ...]:
        return self.others

    def receipt_seconds(self, policy: str) -> float:
        return 60.0
