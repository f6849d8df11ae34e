"""The check of the alerts: it covers every rule, and shortens times and nothing else."""

import re

from benchmarks.alerts_check import __main__ as check
from benchmarks.alerts_check import shortened
from benchmarks.alerts_check.causes import CAUSES, NOT_PROVOKED
from benchmarks.alerts_check.observation import Seen
from tests.stack import config


def test_every_rule_has_a_cause_or_a_reason_why_not() -> None:
    assert check.unexplained() == set()
    names = {rule["alert"] for rule in config.alerts()}
    assert {rule for cause in CAUSES for rule in cause.rules} | NOT_PROVOKED.keys() == names


def test_only_times_are_shortened() -> None:
    for path in config.RULES:
        original = config.load(path)
        for before, after in zip(_rules(original), _rules(shortened.rules(original)), strict=True):
            lowered = shortened.LOWERED.get(before.get("alert", ""), ("", ""))
            expected = before["expr"].replace(*lowered) if lowered[0] else before["expr"]
            assert _without_times(after["expr"]) == _without_times(expected)


def _rules(groups: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[dict[str, str]]:
    return [rule for group in groups["groups"] for rule in group["rules"]]


def _without_times(expression: str) -> str:
    made = re.sub(r"\[\w+\]", "[]", expression)
    for age in shortened.AGES:
        made = re.sub(rf"({age}\{{[^}}]*\}}\)? *[<>] *)\d+", r"\1", made)
    return made


def test_a_time_is_divided_by_the_factor_and_leaves_room_for_scrapes() -> None:
    assert shortened.duration("5m") == "5000ms"
    assert shortened.duration("15s") == "1000ms"
    assert shortened.expression("rate(a[3d])") == "rate(a[4320000ms])"
    age = 'max by (job) (cctelegram_oldest_message_age_seconds{job="a"}) > 600'
    assert shortened.expression(age).endswith("> 10")


def test_a_rule_that_did_not_fire_is_shown_as_such() -> None:
    row = Seen("A", "a cause", fired=1.0, resolved=2.0)
    assert not row.complete
    assert check.table([row])[-1] == "| A | a cause | 1.0 | NO | 2.0 |"
