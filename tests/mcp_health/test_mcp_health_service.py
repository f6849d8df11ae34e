"""The running mcp-health, over HTTP, with real servers as neighbours."""

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.kit.runner import prepare, running
from services.kit.settings import StartError, load
from services.mcp_health.app import create_app
from services.mcp_health.compliance import Standard
from services.mcp_health.settings import McpHealthSettings
from tests import fuzzing, servers
from tests.mcp_health.neighbours import (
    KEY,
    Neighbour,
    alert,
    alertmanager,
    health,
    prometheus,
    service_of_ours,
    serving,
    target,
    unused_port,
)

OURS = ("bridge", "alert_relay", "dashboard")


@asynccontextmanager
async def service(data: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Runs mcp-health with the settings; services without an address are unreachable."""
    unreachable = await unused_port()
    values = {f"{name}_url": unreachable for name in OURS} | {"check_interval_seconds": 1.0} | settings
    made = McpHealthSettings(port=0, data_dir=data, **values)
    async with (
        running(create_app, made) as up,
        servers.http(up.url) as client,
    ):
        yield client


@asynccontextmanager
async def whole_suite(data: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    ours = {name: service_of_ours() for name in OURS}
    async with serving(*ours.values()):
        urls = {f"{name}_url": neighbour.url for name, neighbour in ours.items()}
        async with service(data, **{**urls, **settings}) as client:
            yield client


async def report(client: httpx.AsyncClient, path: str, ready: Any) -> Any:
    """Waits until the answer of a path fulfils a condition, and returns it."""
    async with asyncio.timeout(20):
        while True:
            body = (await client.get(path)).json()
            if ready(body):
                return body
            await asyncio.sleep(0.02)


def measured(*names: str) -> Any:
    return lambda body: all(body["services"][name]["status"] != "unknown" for name in names)


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    text = (await client.get("/metrics")).text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_health_has_the_shape_of_the_contract(tmp_path: Path) -> None:
    async with whole_suite(tmp_path, environment="test-7") as client:
        body = await report(client, "/health", measured(*OURS))
    assert body["status"] == "healthy"
    assert body["timestamp"].endswith("Z")
    assert body["version"]
    assert body["python_version"] == platform.python_version()
    assert body["environment"] == "test-7"
    assert 0 < body["memory"]["used_mb"] < body["memory"]["total_mb"]
    share = 100 * body["memory"]["used_mb"] / body["memory"]["total_mb"]
    assert body["memory"]["usage_percent"] == pytest.approx(share, abs=0.1)
    assert body["uptime_seconds"] > 0
    assert set(body["services"]) == {*OURS, "prometheus", "alertmanager", "grafana", "jaeger"}
    for name in OURS:
        assert body["services"][name]["response_time_ms"] > 0
        assert body["services"][name]["components"] == {"database": "healthy"}


async def test_what_is_not_configured_is_unknown_never_healthy_and_spoils_nothing(tmp_path: Path) -> None:
    async with whole_suite(tmp_path) as client:
        body = await report(client, "/health", measured(*OURS))
    for name in ("prometheus", "alertmanager", "grafana", "jaeger"):
        assert body["services"][name]["status"] == "unknown"
        assert body["services"][name]["reason"] == f"not configured ({name.upper()}_URL)"
        assert body["services"][name]["last_check"] is None
    assert body["status"] == "healthy"


async def test_without_a_bridge_the_suite_is_critical_and_the_answer_503(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        await report(client, "/health", measured("bridge"))
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "critical"
    assert answer.json()["services"]["bridge"]["error"].startswith("cannot connect")


async def test_it_is_alive_and_ready_when_everything_else_is_gone(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        await report(client, "/health", measured("bridge"))
        live, ready = await client.get("/health/live"), await client.get("/health/ready")
    assert live.status_code == 200
    assert ready.status_code == 200


async def test_the_whole_stack_is_checked_deeply(tmp_path: Path) -> None:
    watched = prometheus([target(), target("down", "redis", "refused")], [alert("DatabaseDown", "critical")])
    router, grafana, jaeger, sandbox = alertmanager(), Neighbour(), Neighbour(), Neighbour()
    grafana.answers_json("/api/health", {"database": "ok", "version": "11.6.0"})
    jaeger.answers_json("/api/services", {"data": ["bridge", "alert-relay"]})
    sandbox.answers_json("/health", health(chats="healthy"))
    async with serving(watched, router, grafana, jaeger, sandbox):
        urls = {
            "prometheus_url": watched.url,
            "alertmanager_url": router.url,
            "grafana_url": grafana.url,
            "jaeger_url": jaeger.url,
            "sandbox_url": sandbox.url,
        }
        names = (*OURS, "prometheus", "alertmanager", "grafana", "jaeger", "telegram_sandbox")
        async with whole_suite(tmp_path, **urls) as client:
            await report(client, "/health", measured(*names))
            body = await report(
                client, "/health", lambda each: each["components"]["scrape_targets"]["status"] != "unknown"
            )
    assert {body["services"][name]["status"] for name in names} == {"healthy"}
    assert body["services"]["alertmanager"]["silences_active"] == 1
    assert body["services"]["jaeger"]["names"] == ["alert-relay", "bridge"]
    assert body["components"]["scrape_targets"]["down_targets"][0]["job"] == "redis"
    assert body["components"]["firing_alerts"]["names"] == ["DatabaseDown"]
    assert body["status"] == "degraded"


async def test_a_row_of_checks_has_every_field_of_the_contract(tmp_path: Path) -> None:
    async with whole_suite(tmp_path) as client:
        await report(client, "/health", measured(*OURS))
        body = (await client.get("/health/checks")).json()
    rows = {row["id"]: row for row in body["checks"]}
    assert set(rows["bridge"]) == {
        "id",
        "name",
        "type",
        "critical",
        "status",
        "duration_ms",
        "last_check",
        "consecutive_failures",
        "circuit",
        "evidence",
    }
    assert rows["bridge"]["type"] == "dependency"
    assert rows["bridge"]["critical"] is True
    assert rows["bridge"]["circuit"] == {"state": "closed", "opened_at": None}
    assert rows["dashboard"]["critical"] is False
    assert {rows[name]["type"] for name in ("memory", "disk", "cpu", "event_loop")} == {"system"}
    assert {rows[name]["type"] for name in ("scrape_targets", "firing_alerts")} == {"custom"}
    assert rows["prometheus"]["circuit"] is None
    assert rows["memory"]["evidence"]["usage_percent"] > 0


async def test_checks_can_be_narrowed_down_and_the_status_stays_that_of_all(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        await report(client, "/health", measured(*OURS))
        body = (
            await client.get("/health/checks", params={"type": "dependency", "status": "critical"})
        ).json()
        none = (await client.get("/health/checks", params={"type": "custom", "status": "healthy"})).json()
    assert {row["id"] for row in body["checks"]} == {"bridge", "alert_relay"}
    assert none["checks"] == []
    assert none["status"] == "critical"


async def test_an_open_circuit_shows_in_its_row(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        body = await report(
            client,
            "/health/checks?type=dependency",
            lambda each: each["checks"][0]["circuit"]["state"] == "open",
        )
        series = await samples(client)
    row = body["checks"][0]
    assert row["id"] == "bridge"
    assert row["circuit"]["opened_at"].endswith("Z")
    assert row["consecutive_failures"] == 5
    assert "circuit is open" in row["evidence"]["not_called"]
    assert series["cctelegram_circuit_breaker_state", "bridge"] == 2


async def test_compliance_is_measured_and_says_what_is_unknown(tmp_path: Path) -> None:
    async with whole_suite(tmp_path) as client:
        await report(client, "/health", measured(*OURS))
        body = await report(
            client,
            "/health/compliance",
            lambda each: all(row["status"] != "unknown" for row in of(each, "without a key")),
        )
        scores = await published(client)
    assert set(body["standards"]) == {"SOC2", "PCI-DSS", "GDPR", "HIPAA"}
    rows = [row for found in body["standards"].values() for row in found]
    known = [row for row in rows if row["status"] != "unknown"]
    assert body["measured"] == len(known)
    assert body["unknown"] == len(rows) - len(known) > 0
    passed = sum(row["status"] == "passed" for row in known)
    assert body["score"] == pytest.approx(100 * passed / len(rows), abs=0.06)
    assert body["score"] < 100
    assert "neither an audit nor a certificate" in body["notice"]
    for row in rows:
        assert set(row) == {"control", "supports", "status", "evidence", "measured_at", "recommendation"}
        assert (row["recommendation"] is None) == (row["status"] == "passed")
    (key_file,) = [row for row in of(body, "API key's file") if row["supports"].startswith("supports SOC2")]
    assert (key_file["status"], key_file["evidence"]) == ("passed", {"mode": "0600"})
    assert set(scores) == set(Standard)
    assert all(0 <= score <= 100 for score in scores.values())


async def published(client: httpx.AsyncClient) -> dict[str, float]:
    """Waits until the scores in the metrics equal those of the report, and returns them."""
    async with asyncio.timeout(20):
        while True:
            reported = (await client.get("/health/compliance")).json()["scores"]
            series = await samples(client)
            scores = {key[1]: value for key, value in series.items() if key[0] == "compliance_score"}
            if scores == reported:
                return scores
            await asyncio.sleep(0.05)


def of(body: Any, words: str) -> list[Any]:
    return [row for rows in body["standards"].values() for row in rows if words in row["supports"]]


async def test_the_health_routes_and_the_metrics_are_public(tmp_path: Path) -> None:
    paths = [
        "/",
        "/health",
        "/health/live",
        "/health/ready",
        "/health/checks",
        "/health/compliance",
        "/metrics",
    ]
    async with whole_suite(tmp_path) as client:
        await report(client, "/health", measured(*OURS))
        answers = {path: (await client.get(path)).status_code for path in paths}
    assert set(answers.values()) == {200}


async def test_what_shows_the_installation_can_be_closed_with_the_metrics(tmp_path: Path) -> None:
    closed, opened = ("/health/checks", "/health/compliance", "/metrics"), ("/health", "/health/ready")
    async with whole_suite(tmp_path, api_key=KEY, metrics_bearer_token="token-of-prometheus") as client:
        for path in closed:
            assert (await client.get(path)).status_code == 401, path
            for key in ("token-of-prometheus", KEY):
                answer = await client.get(path, headers={"Authorization": f"Bearer {key}"})
                assert answer.status_code == 200, path
        for path in opened:
            assert (await client.get(path)).status_code in (200, 503), path


async def test_nothing_public_tells_the_key_or_where_it_is_kept(tmp_path: Path) -> None:
    secret = {"api_key": KEY, "prometheus_url": "http://me:hunter2@127.0.0.1:1"}
    async with whole_suite(tmp_path, **secret) as client:
        await report(client, "/health", measured("prometheus"))
        paths = ("/health", "/health/checks", "/health/compliance", "/metrics", "/openapi.json")
        texts = [(await client.get(path)).text for path in paths]
    for text in texts:
        assert KEY not in text
        assert "hunter2" not in text
        assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/checks?type=nonsense", 422),
        ("GET", "/health/checks?status=", 422),
        ("GET", "/health/nothing", 404),
        ("GET", "/admin", 404),
        ("POST", "/health", 405),
        ("DELETE", "/health/compliance", 405),
    ],
)
async def test_bad_input_gets_a_problem_document(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with service(tmp_path) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


async def test_bad_input_is_told_field_by_field(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        answer = await client.get("/health/checks", params={"type": "nonsense", "status": "splendid"})
    assert [error["loc"] for error in answer.json()["errors"]] == [["query", "type"], ["query", "status"]]


async def test_a_body_is_never_read_however_large_it_says_it_is(tmp_path: Path) -> None:
    async with service(tmp_path, max_body_bytes=1024) as client:
        answer = await client.post("/health/checks", content=b"x" * 200_000)
        assert answer.status_code == 405
        assert (await client.get("/health/live")).status_code == 200


async def test_every_series_is_there_from_the_start(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        series = await samples(client)
    for check in (*OURS, "prometheus", "memory", "disk", "cpu", "event_loop", "scrape_targets"):
        assert ("cctelegram_health_check_up", check) in series
        assert ("cctelegram_health_check_duration_seconds_count", check) in series
    for dependency in OURS:
        assert ("cctelegram_circuit_breaker_state", dependency) in series
    for standard in Standard:
        for status in ("passed", "failed", "unknown"):
            assert ("cctelegram_compliance_controls", *sorted((standard.value, status))) in series
    assert ("auth_failed_attempts_total",) in series


@fuzzing.mark
async def test_whatever_is_sent_the_answers_are_those_of_the_openapi_document(tmp_path: Path) -> None:
    async with whole_suite(tmp_path) as client:
        await report(client, "/health", measured(*OURS))
        document = (await client.get("/openapi.json")).json()
        assert {"/health/checks", "/health/compliance"} <= set(document["paths"])
        await fuzzing.try_everything(client)


def test_the_settings_have_the_contract_s_defaults() -> None:
    settings = McpHealthSettings()
    assert settings.port == 3000
    assert (settings.bridge_url, settings.alert_relay_url, settings.dashboard_url) == (
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8081",
        "http://127.0.0.1:8082",
    )
    assert settings.prometheus_url is settings.jaeger_url is settings.sandbox_url is None


def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    environment = {
        "MCP_HEALTH_PORT": "3999",
        "BRIDGE_URL": "http://gateway:8080/",
        "JAEGER_URL": "https://jaeger.example.org",
        "ENVIRONMENT": "production",
        "CHECK_INTERVAL_SECONDS": "15",
        "API_KEY_FILE": str(tmp_path / "key"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load(McpHealthSettings)
    assert settings.port == 3999
    assert settings.bridge_url == "http://gateway:8080"
    assert settings.jaeger_url == "https://jaeger.example.org"
    assert settings.environment == "production"
    assert settings.check_interval_seconds == 15.0
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY
    assert settings.api_key_file == tmp_path / "key"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MCP_HEALTH_PORT", "70000"),
        ("BRIDGE_URL", "gateway:8080"),
        ("PROMETHEUS_URL", "prometheus"),
        ("ENVIRONMENT", "two words"),
        ("CHECK_INTERVAL_SECONDS", "0"),
        ("CHECK_TIMEOUT_SECONDS", "soon"),
        ("COMPLIANCE_INTERVAL_SECONDS", "1"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError, match=f"^{name}: "):
        load(McpHealthSettings)


async def test_a_port_in_use_stops_the_start_with_one_line(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        port = client.base_url.port
        assert port is not None
        taken = McpHealthSettings(port=port, data_dir=tmp_path)
        with pytest.raises(StartError, match="MCP_HEALTH_PORT: mcp_health cannot listen"):
            prepare(create_app, taken)
