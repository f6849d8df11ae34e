"""No rule is raised by its own notification: each is evaluated on what its failing notification changes.

A real relay cannot deliver an alert of each name; the metrics before and after are what Prometheus would have
scraped, and promtool evaluates the rule on them.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.alert_relay.notifications import about_delivery
from tests.alert_relay.conftest import Phone
from tests.alert_relay.payloads import alert, webhook
from tests.servers import until
from tests.stack import config, servers

NAMES = sorted({rule["alert"] for rule in config.alerts()} - {"Watchdog"})
#: Telegram refuses this message, and says nothing about the chat.
REFUSED = {"status": 400, "description": "Bad Request: message is too long"}
FAILS = {"status": 500, "description": "Internal Server Error"}
#: What the machine of the test changes, rather than a notification.
OF_THE_MACHINE = ("process_", "event_loop_", "http_request_duration", "database_", "python_")
#: Minutes of the evaluated time, before and after the notification.
BEFORE, AFTER = 30, 60
#: Targets that are up.
JOBS = ("bridge", "alert-relay")
Series = tuple[str, tuple[tuple[str, str], ...]]


async def page(relay: httpx.AsyncClient) -> dict[Series, float]:
    text = (await relay.get("/metrics", headers={"Accept": "text/plain"})).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith(OF_THE_MACHINE)
    }


def own(name: str) -> dict[str, Any]:
    made = alert(name=name)
    return made | {"labels": made["labels"] | {"service": about_delivery.SERVICE, "job": "alert-relay"}}


def values(name: str, before: float, after: float) -> str:
    """A series of promtool: a sample each minute."""
    if name == "cctelegram_oldest_message_age_seconds" and after > 0:
        minutes = int(about_delivery.SECONDS // 60)
        return f"{before:g}x{BEFORE} 0+60x{minutes} 0x{AFTER}"
    if name == "cctelegram_queue_depth" and after != before:
        minutes = int(about_delivery.SECONDS // 60)
        return f"{before:g}x{BEFORE} {after:g}x{minutes} {before:g}x{AFTER}"
    return f"{before:g}x{BEFORE} {after:g}x{AFTER}"


def selector(metric: str, labels: tuple[tuple[str, str], ...]) -> str:
    matchers = (*labels, ("job", "alert-relay"), ("instance", "r"))
    return f"{metric}{{{','.join(f'{label}={json.dumps(value)}' for label, value in matchers)}}}"


def evaluated(name: str, before: Mapping[Series, float], after: Mapping[Series, float]) -> dict[str, Any]:
    """The test of promtool that one rule stays quiet."""
    read = set().union(
        *(config.raw_series(rule["expr"]) for rule in config.alerts() if rule["alert"] == name)
    )
    series = [
        {
            "series": selector(metric, labels),
            "values": values(metric, before.get((metric, labels), 0), value),
        }
        for (metric, labels), value in after.items()
        if metric in read
    ]
    up = [{"series": f'up{{job="{job}",instance="a"}}', "values": f"1x{BEFORE + AFTER}"} for job in JOBS]
    expected = [
        {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": []}
        for minute in range(BEFORE - 1, BEFORE + AFTER)
    ]
    return {"interval": "1m", "input_series": series + up, "alert_rule_test": expected}


def promtool(folder: Path, tests: list[dict[str, Any]]) -> str:
    path = folder / "self_test.yml"
    files = [str(rules) for rules in config.RULES]
    path.write_text(json.dumps({"rule_files": files, "evaluation_interval": "1m", "tests": tests}))
    ran = servers.run("promtool", "test", "rules", path)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def ended(shown: Mapping[Series, float]) -> float:
    return sum(value for (name, _), value in shown.items() if name == "cctelegram_notifications_total")


async def has(relay: httpx.AsyncClient, number: float) -> bool:
    return ended(await page(relay)) >= number


async def test_a_rule_is_not_raised_by_its_own_notification_that_is_refused(
    relay: httpx.AsyncClient, phone: Phone, tmp_path: Path
) -> None:
    await phone.client.post("/control/faults", json={"kind": "answer", "times": None, **REFUSED})
    tests = []
    for name in NAMES:
        before = await page(relay)
        await relay.post("/webhook/alert", json=webhook(own(name)))
        assert await until(partial(has, relay, ended(before) + 1))
        tests.append(evaluated(name, before, await page(relay)))
    assert promtool(tmp_path, tests) == ""


async def tries(relay: httpx.AsyncClient) -> float:
    shown = await page(relay)
    return sum(value for (name, _), value in shown.items() if name == "cctelegram_retries_total")


@pytest.mark.parametrize("name", sorted(about_delivery.NAMES))
async def test_a_rule_is_not_raised_by_its_own_notification_that_waits(
    relay: httpx.AsyncClient, phone: Phone, tmp_path: Path, name: str
) -> None:
    await phone.client.post("/control/faults", json={"kind": "answer", "times": None, **FAILS})
    before = await page(relay)
    await relay.post("/webhook/alert", json=webhook(own(name)))
    assert await until(partial(tries, relay))
    after = await page(relay)
    waiting = {key: 1.0 for key in after if key[0] == "cctelegram_oldest_message_age_seconds"}
    assert promtool(tmp_path, [evaluated(name, before, after | waiting)]) == ""


def test_the_notifications_that_end_soon_are_those_whose_rules_read_what_waits() -> None:
    waits = {
        "cctelegram_oldest_message_age_seconds",
        "cctelegram_queue_depth",
        "cctelegram_unknown_outcomes_total",
        "cctelegram_notifications_total",
        "external_api_calls_total",
    }
    reading = {
        rule["alert"]
        for rule in config.alerts()
        if waits & config.raw_series(rule["expr"])
        and any("alert-relay" in each for each in config.read_by(rule["expr"]))
    }
    assert reading == about_delivery.NAMES
