"""Real services with a real Prometheus and Alertmanager and our configuration."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services import demo
from tests.stack import config, contract, servers, suite
from tests.stack.suite import Watched

pytestmark = pytest.mark.xdist_group("stack")

# Series that Prometheus itself creates.
MADE_BY_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "service"}}
TARGET_LABELS = {"job", "instance"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with suite.watched(tmp_path_factory.mktemp("stack")) as watched:
        # Counts before the first scrape give no rate.
        servers.until("a first scrape of everything", lambda: _all_scraped(watched))
        watched.suite.demo()
        servers.until("the demo in the chat", lambda: len(watched.suite.texts()) > len(demo.EVENTS))
        servers.until("a delivery rate", lambda: watched.query("cctelegram_delivery_rate_percent"))
        yield watched


def _all_scraped(stack: Watched) -> bool:
    return len(stack.query("up == 1")) == len(stack.addresses)


def test_every_target_is_scraped_and_up(stack: Watched) -> None:
    def states() -> dict[str, str] | None:
        targets = stack.prometheus.get("/api/v1/targets")["data"]["activeTargets"]
        found = {target["labels"]["job"]: target["health"] + target["lastError"] for target in targets}
        return found if set(found.values()) == {"up"} else None

    jobs = {job["job_name"] for job in config.load(config.PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    assert servers.until("every target up", states).keys() == jobs - suite.ONLY_IN_COMPOSE


def test_prometheus_evaluates_every_rule_without_an_error(stack: Watched) -> None:
    def evaluated() -> list[Any]:
        groups = stack.prometheus.get("/api/v1/rules")["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    found = servers.until("every rule evaluated", evaluated)
    assert {rule["name"]: rule.get("lastError", "") for rule in found if rule["health"] != "ok"} == {}
    assert len(found) == len(config.rules())


def _exported(stack: Watched) -> dict[str, set[str]]:
    """Returns all series with their labels: those of the targets and the recorded ones."""
    found: dict[str, set[str]] = {name: set(labels) for name, labels in MADE_BY_PROMETHEUS.items()}
    for page in stack.pages().values():
        for name, labels in config.exported(page).items():
            found.setdefault(name, set()).update(labels | TARGET_LABELS)
    return found | {name: {"job", "state"} for name in config.recorded()}


def test_rules_name_only_series_and_labels_that_are_exported(stack: Watched) -> None:
    exported = _exported(stack)
    for rule in config.rules():
        name = rule.get("alert") or rule["record"]
        assert not config.series(rule["expr"]) - exported.keys(), name
        unknown = {(s, label) for s, label in config.labels(rule["expr"]) if label not in exported[s]}
        assert not unknown, name


def test_panels_name_only_series_and_labels_that_are_exported(stack: Watched) -> None:
    exported = _exported(stack)
    for panel in config.panels():
        expression = config.with_values(panel.expression)
        assert not config.series(expression) - exported.keys(), str(panel)
        unknown = {(s, label) for s, label in config.labels(expression) if label not in exported[s]}
        assert not unknown, str(panel)


@pytest.mark.parametrize("name", contract.METRICS)
def test_what_is_promised_to_be_measured_is_exported_with_its_labels(stack: Watched, name: str) -> None:
    pages = {job: config.exported(page) for job, page in stack.pages().items()}
    services, labels = contract.METRICS[name]
    assert {job for job in services if name not in pages[job]} == set()
    assert {frozenset(pages[job][name]) for job in services} == {labels}


def test_what_is_not_there_yet_is_exported_by_nobody(stack: Watched) -> None:
    exported = set().union(*(config.exported(page) for page in stack.pages().values()))
    assert not contract.METRICS_NOT_THERE.keys() & exported


def test_quantiles_are_asked_of_histograms_that_reach_far_enough(stack: Watched) -> None:
    """A quantile is at most the highest finite bucket: an alert above it could never fire."""
    limits = {"http_request_duration_seconds": 1.0, "cctelegram_message_duration_seconds": 2.0}
    page = stack.pages()["bridge"]
    for name, limit in limits.items():
        bounds = {
            float(line.split('le="')[1].split('"')[0])
            for line in page.splitlines()
            if line.startswith(f"{name}_bucket")
        }
        assert limit in bounds, name
        assert any(limit < bound < math.inf for bound in bounds), name
    assert 'cctelegram_message_duration_seconds_bucket{le="5.0"}' in page


def test_a_quantile_that_can_reach_the_last_bucket_says_so(stack: Watched) -> None:
    """Whatever takes longer reads as the highest finite bound; a minute is long enough for every text."""
    last: dict[str, float] = {}
    for page in stack.pages().values():
        for name, bound in re.findall(r'^(\w+)_bucket\{.*le="([0-9.]+)"', page, re.MULTILINE):
            last[name] = max(last.get(name, 0.0), float(bound))
    for figure in config.figures():
        for name in set(re.findall(r"(\w+)_bucket\b", figure.expression)):
            assert last[name] >= 60 or f"{last[name]:g} s" in figure.words, figure


def test_every_panel_of_every_dashboard_shows_something(stack: Watched) -> None:
    def every_panel() -> bool:
        empty = [str(panel) for panel in config.panels() if not _shows(stack, panel)]
        if empty:
            raise LookupError(f"no data in {empty}")
        return True

    servers.until("data in every panel", every_panel, 60)


def _shows(stack: Watched, panel: config.Panel) -> bool:
    # Long enough for the demo at the beginning of this module, also on a slow machine.
    found = stack.query(config.with_values(panel.expression, __rate_interval="30m"))
    return any(not math.isnan(float(sample["value"][1])) for sample in found)


@pytest.mark.parametrize("variable", list(config.variables()), ids=str)
def test_every_drop_down_of_every_dashboard_has_something_to_choose(
    stack: Watched, variable: config.Variable
) -> None:
    path = f"/api/v1/label/{variable.label}/values"
    assert stack.prometheus.get(path, **{"match[]": variable.selector})["data"]


def test_an_alert_that_fires_reaches_the_chat_and_so_does_its_end(stack: Watched) -> None:
    """Prometheus → Alertmanager → alert-relay → Telegram: the database goes down and comes back."""
    servers.until("the database", lambda: stack.query("pg_up == 1"))
    with stack.postgres.away():
        servers.until(
            "the alert", lambda: stack.query('ALERTS{alertname="DatabaseDown", alertstate="firing"}')
        )
        (firing,) = servers.until("the alert in the chat", lambda: _told(stack, "🔥 DatabaseDown (critical)"))
        assert "PostgreSQL does not answer" in firing
    # The incident's message is edited, and answered.
    servers.until(
        "its end in the chat", lambda: len(_told(stack, "✅ DatabaseDown (critical) resolved")) == 2, 60
    )


def _told(stack: Watched, beginning: str) -> list[str]:
    return [text for text in stack.suite.texts() if text.startswith(beginning)]


def test_the_watchdog_comes_to_the_relay_again_and_again(stack: Watched) -> None:
    ages = servers.until("the watchdog's age", lambda: stack.query("cctelegram_watchdog_age_seconds"))
    assert float(ages[0]["value"][1]) < 120
