"""Escalation policies, and the rules that choose one for an incident. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.alert_relay.channels.target import Target
from services.alert_relay.incidents import matchers
from services.alert_relay.incidents.incident import Incident
from services.alert_relay.incidents.matchers import Matcher
from services.alert_relay.notifications.router import RECEIPT_SECONDS, Step

#: The policy of incidents that no rule matches.
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Level:
    """A level of escalation.

    Args:
        after: seconds from the first notification of the incident.
        targets: that are notified then, each once.
    """

    after: float
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is notified of an incident while no person acknowledges it.

    Args:
        levels: at least one, in the order of time; the first is reached at once.
        repeat_every: seconds after which the levels begin anew; 0: they do not.
        repeat_times: how often they begin anew.
        receipt_seconds: a notification that has not arrived within this time is escalated.
        fallback: targets that are notified if nothing of the last level has arrived.
    """

    levels: tuple[Level, ...]
    repeat_every: float = 0.0
    repeat_times: int = 0
    receipt_seconds: float = RECEIPT_SECONDS
    fallback: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives the incidents whose labels match all matchers a policy."""

    matchers: tuple[Matcher, ...]
    policy: str


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of ON_CALL_FILE: a :class:`services.alert_relay.notifications.router.Router`.

    Args:
        by_name: with one that is named :data:`DEFAULT`.
        rules: the first that matches counts.
        others: targets of the fallback of policies that name none.
    """

    by_name: Mapping[str, Policy]
    rules: tuple[Rule, ...] = ()
    others: tuple[Target, ...] = ()

    def policy(self, labels: Mapping[str, str]) -> str:
        found = (each.policy for each in self.rules if matchers.match_all(each.matchers, labels))
        return next(found, DEFAULT)

    def targets(self, policy: str, level: int, at: float) -> tuple[Target, ...]:  # noqa: ARG002 - protocol
        levels = self.named(policy).levels
        return levels[level].targets if level < len(levels) else ()

    def next_step(self, incident: Incident) -> Step | None:
        policy, since = self.named(incident.policy or DEFAULT), incident.escalates_from or incident.opened_at
        begun = since + incident.round * policy.repeat_every
        level = incident.level + 1
        if level < len(policy.levels):
            return Step(level, incident.round, begun + policy.levels[level].after)
        if policy.repeat_every and incident.round < policy.repeat_times:
            return Step(0, incident.round + 1, begun + policy.repeat_every)
        return None

    def fallback(self, policy: str) -> tuple[Target, ...]:
        return self.named(policy).fallback or self.others

    def receipt_seconds(self, policy: str) -> float:
        return self.named(policy).receipt_seconds

    def named(self, name: str) -> Policy:
        """Returns a policy; the default one if the file has no such policy any more."""
        return self.by_name.get(name, self.by_name[DEFAULT])


def targets_of(policies: Policies) -> Collection[Target]:
    """Returns every target of the policies, each once."""
    named = [
        target
        for policy in policies.by_name.values()
        for targets in (*(level.targets for level in policy.levels), policy.fallback)
        for target in targets
    ]
    return tuple(dict.fromkeys((*named, *policies.others)))
