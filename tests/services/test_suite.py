"""The suite as ``python -m services`` runs it: five services in one process, found, asked and stopped."""

import json
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services.suite import PORTS, Suite, start
from tests.stack.servers import until

# One suite for all of them, and so one process of the run.
pytestmark = pytest.mark.xdist_group("suite")

#: A metric that one service has and no other.
OWN = {
    "bridge": "cctelegram_active_connections",
    "alert-relay": "cctelegram_alerts_received",
    "dashboard": "websocket_connections_total",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("suite")
    running = start(folder / "data", folder / "errors")
    yield running
    assert running.process.poll() is None, (folder / "errors").read_text()
    running.process.kill()
    running.process.wait(30)
    assert running.process.stdout is not None
    running.process.stdout.close()


services = pytest.mark.parametrize("name", PORTS)


def get(suite: Suite, name: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{suite.urls[name]}{path}", headers=headers, timeout=30)


def test_it_says_where_everything_is(suite: Suite) -> None:
    for name, url in suite.urls.items():
        assert re.search(rf"^\s+{name}\s+{url}", suite.printed, re.MULTILINE), suite.printed
    assert str(suite.data) in suite.printed


def test_everything_it_keeps_is_in_one_folder_that_only_the_owner_reads(suite: Suite) -> None:
    assert stat.S_IMODE((suite.data / "api_key").stat().st_mode) == 0o600
    open_to_others = [
        path for path in suite.data.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []


def test_it_writes_where_clients_find_it(suite: Suite) -> None:
    written = json.loads((suite.data / "urls.json").read_text())
    names = {"telegram-sandbox": "sandbox", "alert-relay": "alert_relay", "mcp-health": "mcp_health"}
    assert written == {names.get(name, name): url for name, url in suite.urls.items()}


@services
def test_a_service_says_what_it_is(name: str, suite: Suite) -> None:
    about = get(suite, name, "/", accept="application/json").json()
    assert about["name"] == name
    assert {"docs", "health", "metrics", "openapi.json"} <= about["links"].keys()


@services
def test_a_service_is_alive(name: str, suite: Suite) -> None:
    assert get(suite, name, "/health/live").json()["status"] == "alive"


@services
def test_a_service_s_health_is_measured_or_unknown(name: str, suite: Suite) -> None:
    answer = get(suite, name, "/health")
    report: dict[str, Any] = answer.json()
    assert answer.status_code in (200, 503)
    levels = {"unknown", "healthy", "degraded", "unhealthy", "critical"}
    parts = report.get("components") or report["services"]
    assert parts
    for part in parts.values():
        assert part["status"] in levels
        assert part["status"] == "unknown" or part["last_check"] is not None


@services
def test_a_service_s_metrics_are_its_own(name: str, suite: Suite) -> None:
    get(suite, name, "/no/such/page")
    families = {family.name for family in text_string_to_metric_families(get(suite, name, "/metrics").text)}
    assert {
        "http_requests",
        "http_requests_errors",
        "http_request_duration_seconds",
        "process_cpu_usage_percent",
        "process_resident_memory_bytes",
        "event_loop_lag_seconds",
        "auth_failed_attempts",
    } <= families
    assert {owner for owner, family in OWN.items() if family in families} <= {name}


@pytest.mark.parametrize("name", ["bridge", "alert-relay"])
def test_what_the_suite_asks_of_itself_is_counted_apart_and_no_failed_login(name: str, suite: Suite) -> None:
    """The dashboard polls each second; mcp-health calls each protected route without and with a wrong key."""

    def counted() -> dict[tuple[str, ...], float] | None:
        found = _counts(get(suite, name, "/metrics").text)
        polled = found["http_requests_total", "GET", "internal", "2xx"]
        refused = found["auth_probes_refused_total",]
        # A page that is read during a call may have one of the two counts only.
        all_seen = refused == found["http_requests_total", "GET", "internal", "4xx"]
        return found if polled and refused >= 2 and all_seen else None

    counts = until("the polling and the refused probes", counted)
    routes = {labels[2] for labels in counts if labels[0] == "http_requests_total"}
    assert not routes & {"/api/v1/stats", "/openapi.json"}
    assert counts["auth_failed_attempts_total",] == 0


def _counts(page: str) -> dict[tuple[str, ...], float]:
    """Samples by name, method, handler and status."""
    return {
        (
            sample.name,
            *(sample.labels[name] for name in ("method", "handler", "status") if name in sample.labels),
        ): (sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


@services
def test_a_service_documents_itself(name: str, suite: Suite) -> None:
    assert "swagger" in get(suite, name, "/docs").text.lower()
    document = get(suite, name, "/openapi.json").json()
    assert document["info"]["title"] == f"CCTelegram {name}"
    assert {"/health", "/health/live", "/health/ready", "/metrics"} <= document["paths"].keys()


@services
def test_what_is_not_there_is_a_problem_document(name: str, suite: Suite) -> None:
    answer = get(suite, name, "/no/such/page")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("name", "path"), [("bridge", "/api/v1/messages"), ("alert-relay", "/api/v1/incidents")]
)
def test_what_is_not_public_wants_the_key(name: str, path: str, suite: Suite) -> None:
    assert get(suite, name, path).status_code == 401
    assert get(suite, name, path, **suite.key).status_code != 401


def test_the_demo_s_alert_ends_by_itself_and_all_its_links_lead_to_what_runs(suite: Suite) -> None:
    printed = suite.demo()
    alerts = until("the end of the alert", lambda: _of_the_demo(suite), 30)
    incidents = get(suite, "alert-relay", "/api/v1/incidents", **suite.key).json()["incidents"]
    assert {(one["state"], one["firing"]) for one in incidents} == {("resolved", 0)}
    # The incident's message has the links; the end answers it in one line.
    assert alerts[0][1], alerts
    for url in {*re.findall(r"https?://[^\s)]+", printed), *(url for _, links in alerts for url in links)}:
        assert httpx.get(url, timeout=30, follow_redirects=True).is_success, url


def test_the_demo_with_a_bot_of_telegram_names_no_sandbox(suite: Suite, tmp_path: Path) -> None:
    """The bot is read from where the suite reads it."""
    settings = tmp_path / ".env"
    settings.write_text(f"TELEGRAM_BOT_TOKEN=123456:{'a' * 35}\nTELEGRAM_CHAT_IDS=1001\n")
    printed = suite.demo("--env-file", str(settings))
    assert "dashboard" in printed
    assert suite.urls["telegram-sandbox"] not in printed


def _of_the_demo(suite: Suite) -> list[tuple[str, list[str]]] | None:
    """The messages of the demo's alert, each with its links; None before the last of them is there."""
    shown = get(suite, "telegram-sandbox", "/api/chats/1001/messages?limit=1000").json()["messages"]
    messages = [each["message"] for each in shown if "DiskSpaceLow" in each["message"].get("text", "")]
    signs = [each["text"][0] for each in messages]
    if len(signs) < 2 or (signs[0], signs[-1]) != ("✅", "✅"):
        return None
    return [(each["text"], [one["url"] for one in each["entities"] if "url" in one]) for each in messages]


def test_an_event_that_was_accepted_arrives_also_over_a_stop_and_a_start(tmp_path: Path) -> None:
    """Ctrl-C right behind the answer: what was promised is kept by this run or by the next."""
    first = start(tmp_path / "data", tmp_path / "errors")
    chats = {"type": "task_completion", "title": "Promised", "chat_id": [1001, 1002]}
    posted = httpx.post(f"{first.urls['bridge']}/events", json=chats, headers=first.key, timeout=30)
    assert posted.status_code == 202, posted.text
    key = first.key
    assert first.stop(signal.SIGINT) == 0, (tmp_path / "errors").read_text()
    second = start(tmp_path / "data", tmp_path / "errors")
    try:
        assert second.key == key
        for message_id in posted.json()["message_ids"]:
            _await_delivery(second, message_id)
    finally:
        code = second.stop(signal.SIGTERM)
        for each in (first, second):
            assert each.process.stdout is not None
            each.process.stdout.close()
    assert code == 0, (tmp_path / "errors").read_text()
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert key["Authorization"].removeprefix("Bearer ") not in (tmp_path / "data/logs/suite.log").read_text()


def _await_delivery(suite: Suite, message_id: str) -> None:
    url = f"{suite.urls['bridge']}/api/v1/messages/{message_id}"
    with httpx.Client(headers=suite.key, timeout=30) as client:
        while (message := client.get(url).json())["status"] != "delivered":
            assert message["status"] in ("queued", "sending", "retry_wait"), message
