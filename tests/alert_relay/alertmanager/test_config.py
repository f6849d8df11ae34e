"""Alertmanager's configuration: which route repeats how often."""

import pytest

from services.alert_relay.alertmanager import config as alertmanager_config
from services.alert_relay.alertmanager.config import DEFAULT_REPEAT_SECONDS, RepeatIntervals, repeat_intervals
from tests.stack.config import ALERTMANAGER

HOUR = 3_600.0


def of_text(text: str, group_key: str, receiver: str = "people") -> float:
    return repeat_intervals(text).seconds(group_key, receiver)


@pytest.mark.parametrize(
    ("group_key", "seconds"),
    [
        ('{}:{alertname="DiskFull", severity="warning"}', 12 * HOUR),
        ('{}/{alertname="Watchdog"}:{alertname="Watchdog", severity="none"}', 60),
        ('{}/{alertname=~"HighErrorRate|HighHTTPErrorRate"}:{alertname="HighErrorRate"}', HOUR / 2),
        ('{}/{alertname=~"Payment.*"}:{alertname="PaymentFailed"}', 300),
    ],
)
def test_each_route_of_the_shipped_configuration_has_its_own_interval(group_key: str, seconds: float) -> None:
    text = (ALERTMANAGER / "alertmanager.yml").read_text()

    assert of_text(text, group_key, "alert-relay") == seconds


@pytest.mark.parametrize(
    "matchers",
    [
        'matchers: [team="a", "tier=~x|y"]',
        'matchers: [\'{team="a",tier=~"x|y"}\']',
        "matchers: [tier=~\"x|y\", ' team = a ']",
        "match: {team: a}\n    match_re: {tier: x|y}",
    ],
)
def test_matchers_are_read_in_every_form(matchers: str) -> None:
    text = f"route:\n  receiver: people\n  routes:\n  - repeat_interval: 1h30m\n    {matchers}\n"

    assert of_text(text, '{}/{team="a",tier=~"x|y"}:{g="e}/{x"}') == 1.5 * HOUR


def test_a_route_inherits_and_an_unknown_one_has_the_longest_interval_of_its_receiver() -> None:
    text = """
route:
  receiver: people
  repeat_interval: 2h
  routes:
    - matchers: ['a="}"']
      routes: [{matchers: [b!=c], repeat_interval: 3h}]
    - {matchers: [d=e], receiver: others, repeat_interval: 1d}
"""
    assert of_text(text, '{}/{a="}"}:{}') == 2 * HOUR
    assert of_text(text, '{}/{a="}"}/{b!="c"}:{}') == 3 * HOUR
    assert of_text(text, '{}/{removed="x"}:{}') == 3 * HOUR
    assert of_text(text, '{}/{removed="x"}:{}', "others") == 24 * HOUR


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "route: text",
        "route: {receiver: [1], repeat_interval: soon, routes: {a: b}, matchers: 5, match: x}",
        "a: &a [*a",
        "route: &r {routes: [*r]}",
        "\x00",
        "[" * 5_000,
    ],
)
def test_a_configuration_that_cannot_be_read_has_the_default(text: str) -> None:
    assert of_text(text, "{}:{}") == DEFAULT_REPEAT_SECONDS
    assert not alertmanager_config.has_time_intervals(text)


def test_a_long_group_key_takes_no_time() -> None:
    assert RepeatIntervals().seconds('{a="' + "{" * 1_000_000, "people") == DEFAULT_REPEAT_SECONDS
    assert RepeatIntervals().seconds("{" + "a" * 1_000_000 + "}", "people") == DEFAULT_REPEAT_SECONDS


def test_time_intervals_are_noticed() -> None:
    assert alertmanager_config.has_time_intervals("time_intervals: [{name: night}]")
    assert alertmanager_config.has_time_intervals("mute_time_intervals: [{name: night}]")
    assert not alertmanager_config.has_time_intervals("route: {receiver: a}")
