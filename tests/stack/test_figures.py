"""Every panel and rule computes what its words say, over several replicas and where series are absent."""

import math
import re
from typing import Any

import pytest

from tests.stack import config
from tests.stack.config import Figure
from tests.stack.servers import REPOSITORY

#: Gauges that every replica reads from one database: a sum would count them once for each replica.
SHARED = (
    "cctelegram_queue_depth",
    "cctelegram_oldest_message_age_seconds",
    "cctelegram_active_correlations",
    "cctelegram_delivery_rate_percent",
    "cctelegram_incidents",
    "cctelegram_watchdog_age_seconds",
    "cctelegram_telegram_updates_last_success_age_seconds",
    "daily_active_users",
    "monthly_active_users",
)
#: What may stand before such a gauge.
ONE_VALUE = r"(?:\b(?:min|max)(?: by \([^)]*\) )?\(|\bunless on \(\w+\) )"
#: The only series that cannot be absent: without it there is no Prometheus.
NEVER_ABSENT = {"up"}
#: Requests of callers: without health checks, the suite's own requests, long polls and event streams.
CALLERS = 'handler!~"/health.*|internal|waiting"'

RUNBOOK = (REPOSITORY / "docs/runbook.md").read_text(encoding="utf-8")

FIGURES = sorted(config.figures(), key=lambda figure: (figure.name, figure.expression))
figures = pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)


@figures
def test_a_value_of_a_shared_database_is_not_summed_over_replicas(figure: Figure) -> None:
    for name in SHARED:
        uses = re.findall(rf"\b{name}\b", figure.expression)
        assert len(re.findall(rf"{ONE_VALUE}{name}\b", figure.expression)) == len(uses)


@figures
def test_a_series_that_is_absent_is_not_shown_as_zero(figure: Figure) -> None:
    if "or vector(0)" in figure.expression:
        assert config.series(figure.expression) <= NEVER_ABSENT


@pytest.mark.parametrize(
    "rule",
    [rule for rule in config.rules() if "http_requests_total" in rule["expr"]],
    ids=lambda rule: str(rule.get("alert") or rule["record"]),
)
def test_rules_on_requests_are_about_callers_alone(rule: dict[str, str]) -> None:
    selectors = re.findall(r"http_requests_total\{([^}]*)\}", rule["expr"])
    assert selectors
    assert all(CALLERS in selector for selector in selectors)


def test_the_panel_of_failed_requests_computes_what_the_rule_does() -> None:
    (panel,) = [panel for panel in config.panels() if panel.title == "Answered 5xx"]
    assert panel.expression.count(CALLERS) == panel.expression.count("http_requests_total") == 2


@figures
def test_a_count_within_an_interval_says_so(figure: Figure) -> None:
    if "increase(" in figure.expression and "$__rate_interval" in figure.expression:
        assert "within the interval" in figure.words


_WORDS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
alerts = pytest.mark.parametrize(
    "rule", config.alerts(), ids=lambda rule: f"{rule['alert']}-{rule.get('for')}"
)


def written(number: str) -> set[str]:
    """The ways in which a text may write a constant of an expression, such as ``500`` or ``14.4 * 0.05``."""
    factors = [float(factor) for factor in number.split("*")]
    product = math.prod(factors)
    ways = {
        f"{product:g}",
        f"{product:,.0f}",
        f"{100 * product:g} %",
        f"{factors[0]:g} times",
        f"{factors[0]:g} M",
    }
    return ways | ({_WORDS[int(product)]} if product in range(len(_WORDS)) else set())


def explained(rule: dict[str, Any]) -> str:
    """The texts of an alert and the meaning in its section of the runbook."""
    section = RUNBOOK.split(f"### {rule['alert']}\n", 1)[1].split("**First look", 1)[0]
    return " ".join([*rule["annotations"].values(), section]).replace("\n", " ")


@alerts
def test_an_alert_s_texts_name_its_thresholds(rule: dict[str, Any]) -> None:
    expression = re.sub(r"\{[^}]*\}|#[^\n]*", "", rule["expr"])
    for number in re.findall(r"[<>]=? *([0-9.]+(?: \* [0-9.]+)*)", expression):
        text = explained(rule)
        assert float(number.split("*")[0]) == 0 or any(
            re.search(rf"(?<![\w.]){re.escape(way)}(?![\d.]\d)", text) for way in written(number)
        ), (number, text)


@alerts
def test_an_alert_s_texts_name_its_times(rule: dict[str, Any]) -> None:
    """Minutes that a text names are the wait of the rule or a range of its expression."""
    ranges = {rule.get("for", ""), *re.findall(r"\[(\w+)\]", " ".join(config.read_by(rule["expr"])))}
    for named in re.findall(r"(?:for|in|over|within|last|than) (\w+) minutes", explained(rule)):
        minutes = _WORDS.index(named) if named in _WORDS else int(named)
        assert f"{minutes}m" in ranges, (named, ranges)


@pytest.mark.parametrize("name", ["SlowResponseTime", "HighLatency"])
def test_an_alert_on_a_quantile_says_how_many_are_slower(name: str) -> None:
    (rule,) = [rule for rule in config.alerts() if rule["alert"] == name]
    assert rule["annotations"]["summary"].startswith("5 % of ")
