"""prometheus/: the files are valid, and each alert has tests in which it fires and does not."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.stack import config, contract, servers


def test_prometheus_accepts_its_configuration_and_its_rules() -> None:
    checked = servers.run("promtool", "check", "config", config.PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", config.RULE_TESTS, ids=lambda path: str(path.stem))
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    tested = servers.run("promtool", "test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def _tests() -> list[dict[str, Any]]:
    return [test for path in config.RULE_TESTS for test in config.load(path)["tests"]]


def _expectations() -> list[dict[str, Any]]:
    return [expectation for test in _tests() for expectation in test.get("alert_rule_test", [])]


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in config.alerts()}))
def test_every_alert_has_a_test_that_fires_it_and_one_that_does_not(name: str) -> None:
    outcomes = {bool(each["exp_alerts"]) for each in _expectations() if each["alertname"] == name}
    # The watchdog always fires.
    assert outcomes == ({True} if name == "Watchdog" else {True, False})


def _given(test: dict[str, Any]) -> set[str]:
    """The names of the series that a test has."""
    return {each["series"].split("{")[0] for each in test["input_series"]}


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in config.alerts()} - {"Watchdog"}))
def test_every_alert_has_a_test_in_which_the_series_that_it_reads_are_absent(name: str) -> None:
    expressions = [rule["expr"] for rule in config.alerts() if rule["alert"] == name]
    read = set().union(*map(config.raw_series, expressions))
    fired = {
        bool(expectation["exp_alerts"])
        for test in _tests()
        if not read & _given(test)
        for expectation in test.get("alert_rule_test", [])
        if expectation["alertname"] == name
    }
    assert fired == {any("absent(" in expression for expression in expressions)}


def test_rules_that_share_a_name_each_have_a_test_that_fires_them() -> None:
    services = {
        alert["exp_labels"]["service"]
        for each in _expectations()
        if each["alertname"] == "HighCPUUsage"
        for alert in each["exp_alerts"]
    }
    assert services == {"bridge", "host"}


def test_the_alerts_of_the_contract_are_there_with_their_severity() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in config.alerts()}
    assert contract.ALERTS.items() <= severities.items()
    assert not contract.ALERTS_NOT_THERE.keys() & severities.keys()


def test_an_alert_that_is_not_there_lacks_a_series_that_is_not_there() -> None:
    assert set(contract.ALERTS_NOT_THERE.values()) <= contract.METRICS_NOT_THERE.keys()


def test_the_recording_rules_of_the_contract_are_there() -> None:
    assert config.recorded() >= contract.RECORDED


@pytest.mark.parametrize("rule", config.alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_whom_it_concerns_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity", "service"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def _sections() -> dict[str, str]:
    runbook = (servers.REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8")
    parts = [part.split("\n## ")[0].split("\n", 1) for part in runbook.split("\n### ")[1:]]
    return {part[0]: part[1] for part in parts}


def test_the_runbook_has_a_section_for_every_alert_and_for_no_other() -> None:
    assert _sections().keys() == {rule["alert"] for rule in config.alerts()}


@pytest.mark.parametrize("name", _sections())
def test_a_section_of_the_runbook_says_what_an_alert_means_how_to_see_it_and_what_to_do(name: str) -> None:
    parts = re.split(r"^\*\*(.+?)\*\*", _sections()[name], flags=re.MULTILINE)[1:]
    assert parts[::2] == ["Meaning.", "First look.", "Remedy."]
    assert all(len(text.split()) >= 4 for text in parts[1::2])


def test_prometheus_yml_expands_no_variables_so_it_must_hold_none() -> None:
    text = (config.PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "$" not in settings


def test_bridges_are_found_by_name_so_that_every_replica_is_scraped() -> None:
    jobs = {
        job["job_name"]: job for job in config.load(config.PROMETHEUS / "prometheus.yml")["scrape_configs"]
    }
    assert jobs["bridge"]["dns_sd_configs"] == [
        {"names": ["bridge"], "type": "A", "port": 8080, "refresh_interval": "5s"}
    ]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (job, le) (rate(a_bucket{x="b_total{"}[5m])) > 5', {"a_bucket"}),
        ("a:rate:5m / on (instance) group_left (b) max(c) # not d", {"a:rate:5m", "c"}),
        ('100 * (1 - e{f!~"g"} / h) and i offset 5m', {"e", "h", "i"}),
        ("vector(1)", set()),
    ],
)
def test_the_series_of_an_expression_are_told_from_functions_and_labels(
    expression: str, names: set[str]
) -> None:
    assert config.series(expression) == names


def test_rewriting_changes_addresses_and_pace_and_nothing_else() -> None:
    original = config.load(config.PROMETHEUS / "prometheus.yml")
    addresses = {"bridge": ["127.0.0.1:1", "127.0.0.1:2"], "alertmanager": "127.0.0.1:3"}
    made = config.scraped_at(original, addresses)
    assert made["scrape_configs"] == [
        {
            "job_name": "bridge",
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "static_configs": [{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}],
        },
        {"job_name": "alertmanager", "static_configs": [{"targets": ["127.0.0.1:3"]}]},
    ]
    assert made["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:3"]}]}]
