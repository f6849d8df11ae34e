"""alertmanager/: valid, routed as written down, and right in the hands of a real Alertmanager."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from alertmanager import second_path
from alertmanager.second_path import SecondPath, integrations, render
from services.alert_relay.incidents import severity
from tests.ports import free_port
from tests.stack import config, receivers, servers

SOURCE = config.ALERTMANAGER / "alertmanager.yml"
#: The matcher of what counts as critical.
CRITICAL = (
    'severity=~"(?i:critical|page|emergency|fatal|disaster|blocker|urgent|alert|error|high|(p|s|sev-?)[0-2])"'
)
MAIL = {
    "ALERT_EMAIL_TO": "oncall@example.org, chief@example.org",
    "ALERT_EMAIL_FROM": "cctelegram@example.org",
    "SMTP_SMARTHOST": "mail.example.org:587",
}
EVERYTHING = {
    **MAIL,
    "SMTP_USERNAME": "cctelegram",
    "SMTP_PASSWORD": "p\"a's: ${s}\\ #w",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/x",
    "PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789abcdef",
}


def configure(folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The one-shot step of the compose stack, run as it is there."""
    return subprocess.run(
        [sys.executable, "-m", "alertmanager.second_path", str(config.ALERTMANAGER), str(folder)],
        cwd=servers.REPOSITORY,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _fields(variables: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in variables.items()}


def test_alertmanager_accepts_the_file_as_it_is_in_the_repository() -> None:
    checked = servers.run("amtool", "check-config", SOURCE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("variables", "ways"),
    [({}, "none configured"), (MAIL, "email"), (EVERYTHING, "email, slack, pagerduty")],
    ids=["nothing", "mail", "everything"],
)
def test_alertmanager_accepts_what_the_second_way_makes_of_it(
    tmp_path: Path, variables: dict[str, str], ways: str
) -> None:
    made = configure(tmp_path, variables)
    assert made.returncode == 0, made.stderr
    assert made.stderr == f"second path for critical alerts: {ways}\n"
    checked = servers.run("amtool", "check-config", tmp_path / "alertmanager.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (tmp_path / "alertmanager.yml").stat().st_mode & 0o777 == 0o640


def test_a_password_of_any_characters_arrives_unchanged() -> None:
    settings = SecondPath.model_validate(_fields(EVERYTHING))
    made = yaml.safe_load(render(SOURCE.read_text(encoding="utf-8"), settings))
    (mail,) = made["receivers"][-1]["email_configs"]
    assert mail["auth_password"] == EVERYTHING["SMTP_PASSWORD"]


def test_mails_use_the_fields_that_alertmanager_has() -> None:
    (mail,) = integrations(SecondPath.model_validate(_fields(MAIL)))["email_configs"]
    assert mail.keys() == {
        "to",
        "from",
        "smarthost",
        "require_tls",
        "send_resolved",
        "headers",
        "text",
        "html",
    }
    assert mail["headers"].keys() == {"Subject"}


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"ALERT_EMAIL_TO": "oncall@example.org"},
            "mail needs ALERT_EMAIL_TO, ALERT_EMAIL_FROM and SMTP_SMARTHOST together",
        ),
        (MAIL | {"SMTP_SMARTHOST": "mail.example.org"}, "SMTP_SMARTHOST: write the mail server, HOST:PORT"),
        (MAIL | {"SMTP_PASSWORD": "x"}, "SMTP_PASSWORD needs SMTP_USERNAME"),
        ({"SLACK_WEBHOOK_URL_FILE": "/nowhere"}, "SLACK_WEBHOOK_URL_FILE: cannot read /nowhere"),
    ],
)
def test_half_a_configuration_is_one_readable_line(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    made = configure(tmp_path, variables)
    assert made.returncode == 1
    assert made.stderr.startswith("cannot configure the second path: ")
    assert sentence in made.stderr
    assert "Traceback" not in made.stderr
    assert not (tmp_path / "alertmanager.yml").exists()


def test_nothing_may_follow_the_receiver_that_is_written_to() -> None:
    with pytest.raises(ValueError, match="must end with"):
        render("receivers: []\n", SecondPath())


def test_what_alert_relay_takes_for_urgent_goes_to_the_second_path() -> None:
    for name in sorted(severity.LOUD):
        routed = servers.run(
            "amtool", "config", "routes", "test", f"--config.file={SOURCE}", f"severity={name}"
        )
        assert routed.stdout.strip() == "second-path,alert-relay", name


def _routes() -> list[tuple[str, list[str]]]:
    text = (config.ALERTMANAGER / "routes_test.txt").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(wanted, labels) for wanted, *labels in lines]


@pytest.mark.parametrize(("wanted", "labels"), _routes(), ids=" ".join)
def test_alerts_go_to_the_receivers_that_routes_test_txt_names(wanted: str, labels: list[str]) -> None:
    tested = servers.run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={SOURCE}",
        f"--verify.receivers={wanted}",
        *labels,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_that_there_is_has_its_route_written_down() -> None:
    named = {label.removeprefix("alertname=") for _, labels in _routes() for label in labels[:1]}
    severities = {dict(label.split("=", 1) for label in labels).get("severity") for _, labels in _routes()}
    assert {"Watchdog", "CCTelegramDown", "HighQueueDepth"} <= named
    assert severities >= {rule["labels"]["severity"] for rule in config.alerts()}


def test_the_paces_are_those_of_the_contract() -> None:
    route = config.load(SOURCE)["route"]
    assert (route["group_by"], route["group_wait"], route["group_interval"], route["repeat_interval"]) == (
        ["alertname", "severity"],
        "30s",
        "5m",
        "12h",
    )
    by_matcher = {child["matchers"][0]: child for child in route["routes"] if "receiver" not in child}
    assert by_matcher[CRITICAL]["group_wait"] == "0s"
    assert by_matcher['alertname=~"HighErrorRate|HighHTTPErrorRate"']["repeat_interval"] == "30m"
    assert (
        by_matcher['alertname=~"HighQueueDepth|MessageProcessingBacklog|NotificationBacklog"'][
            "repeat_interval"
        ]
        == "15m"
    )
    assert by_matcher['alertname=~"Payment.*"'] == {
        "matchers": ['alertname=~"Payment.*"'],
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "10s",
        "repeat_interval": "5m",
    }


# ------------------------------------------------------------------ a real Alertmanager


def _alert(name: str, severity: str, **more: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, "service": "bridge", **more},
        "annotations": {
            "summary": f"{name} & <others>",
            "description": "why",
            "runbook_url": "docs/runbook.md",
        },
    }


def _post(server: servers.Server, *alerts: dict[str, Any]) -> None:
    httpx.post(f"{server.url}/api/v2/alerts", json=alerts, timeout=5).raise_for_status()


@pytest.fixture
def inbox() -> Iterator[receivers.Receiver]:
    with receivers.listening() as receiver:
        yield receiver


def _running(folder: Path, inbox: receivers.Receiver, *, hasten: bool) -> Any:
    """Alertmanager with our configuration; the relay and Slack are the inbox."""
    key_file = folder / "api_key"
    key_file.write_text("cct_key-of-the-test\n")
    settings = SecondPath(slack_webhook_url=f"{inbox.url}/slack")
    made = yaml.safe_load(second_path.render(SOURCE.read_text(encoding="utf-8"), settings))
    path = folder / "alertmanager.yml"
    path.write_text(json.dumps(config.notifying(made, f"{inbox.url}/webhook/alert", key_file, hasten=hasten)))
    return servers.alertmanager(path, folder, free_port())


def test_critical_goes_out_at_once_both_ways_with_the_key_and_warnings_wait(
    tmp_path: Path, inbox: receivers.Receiver
) -> None:
    with _running(tmp_path, inbox, hasten=False) as server:
        _post(server, _alert("SlowResponseTime", "warning"), _alert("CCTelegramDown", "critical"))
        servers.until("both ways", lambda: inbox.at("/slack") and inbox.at("/webhook/alert"), 10)
    (webhook,) = inbox.at("/webhook/alert")
    assert webhook.names == {"CCTelegramDown"}
    assert webhook.authorization == "Bearer cct_key-of-the-test"
    assert webhook.body["version"] == "4"
    (slack,) = inbox.at("/slack")
    (attachment,) = slack.body["attachments"]
    assert attachment["title"] == "[FIRING 1] CCTelegramDown (bridge)"
    assert "FIRING critical: CCTelegramDown & <others>" in attachment["text"]
    assert "What to do: docs/runbook.md" in attachment["text"]


def test_each_payment_alert_goes_out_at_once_both_ways(tmp_path: Path, inbox: receivers.Receiver) -> None:
    def sent(order: str) -> bool:
        ways = (f"order={order} " in str(each.body) for each in inbox.at("/slack"))
        webhooks = (f"'order': '{order}'" in str(each.body) for each in inbox.at("/webhook/alert"))
        return any(ways) and any(webhooks)

    with _running(tmp_path, inbox, hasten=False) as server:
        for order in ("1", "2", "3"):
            _post(server, _alert("PaymentFailure", "critical", order=order))
            servers.until(f"order {order} both ways", partial(sent, order), 8)


def test_a_warning_is_silent_under_the_critical_one_and_resolutions_are_told(
    tmp_path: Path, inbox: receivers.Receiver
) -> None:
    with _running(tmp_path, inbox, hasten=True) as server:
        _post(server, _alert("MessageProcessingBacklog", "critical"))
        servers.until(
            "the critical one", lambda: inbox.statuses("/webhook/alert", "MessageProcessingBacklog"), 10
        )
        _post(server, _alert("HighQueueDepth", "warning"), _alert("RedisDown", "warning", service="redis"))
        servers.until("another service's", lambda: inbox.statuses("/webhook/alert", "RedisDown"), 10)
        over = _alert("MessageProcessingBacklog", "critical") | {"endsAt": "2020-01-01T00:00:00Z"}
        _post(server, over | {"startsAt": "2019-01-01T00:00:00Z"})
        servers.until(
            "its resolution",
            lambda: "resolved" in inbox.statuses("/webhook/alert", "MessageProcessingBacklog"),
            15,
        )
        servers.until(
            "the warning, now that it says more",
            lambda: inbox.statuses("/webhook/alert", "HighQueueDepth"),
            10,
        )
    told = inbox.at("/webhook/alert")
    resolution = next(place for place, each in enumerate(told) if each.body["status"] == "resolved")
    assert all("HighQueueDepth" not in each.names for each in told[:resolution])
