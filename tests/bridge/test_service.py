"""The bridge as a service: health, metrics, the OpenAPI document, and a store that goes away."""

import asyncio
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from services.bridge import app as bridge_app
from services.contracts.events import CATEGORY_OF
from services.outbox.messages import Reason
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests import servers
from tests.bridge.events.test_intake import HELLO, delivered, post
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.ports import free_port
from tests.servers import BOT_ID, KEY, Sandbox, client_of, until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def metrics(client: AsyncClient) -> Samples:
    text = (await client.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def test_an_empty_database_is_given_its_tables_at_the_start(
    bridge_settings: BridgeFactory, empty_database_url: str
) -> None:
    async with client_of(bridge_app.create_app, bridge_settings(database_url=empty_database_url)) as client:
        await delivered(client, (await post(client))["message_ids"][0])


# Health


async def healthy(client: AsyncClient, *components: str) -> Any:
    async def measured() -> Any:
        report = (await client.get("/health")).json()
        there = all(report["components"][name]["status"] == "healthy" for name in components)
        measured = all(component["last_check"] for component in report["components"].values())
        return report if there and measured else None

    return await until(measured)


async def test_health_has_the_shape_of_the_contract(bridge: AsyncClient) -> None:
    report = await healthy(bridge, "telegram_api", "message_queue", "file_system", "database")
    assert set(report) == {"status", "timestamp", "version", "components", "metrics"}
    components = report["components"]
    assert components["telegram_api"]["response_time_ms"] > 0
    assert components["telegram_api"]["bot"] == f"@sandbox_{BOT_ID}_bot"
    queue = components["message_queue"]
    assert (queue["queue_depth"], queue["oldest_message_age_seconds"]) == (0, 0.0)
    assert re.fullmatch(r"\d+\.\d/sec", queue["processing_rate"])
    assert re.fullmatch(r"\d+%", components["file_system"]["disk_usage"])
    assert components["database"]["response_time_ms"] > 0
    assert components["redis_connection"]["status"] == "unknown"
    assert {"telegram_updates"} <= set(components)
    assert set(report["metrics"]) == {
        "uptime_seconds",
        "memory_usage_mb",
        "cpu_usage_percent",
        "active_connections",
        "messages_processed_total",
    }
    assert report["metrics"]["uptime_seconds"] > 0
    assert report["metrics"]["memory_usage_mb"] > 10
    assert report["metrics"]["active_connections"] >= 1


async def test_health_counts_what_was_processed(bridge: AsyncClient) -> None:
    await delivered(bridge, (await post(bridge))["message_ids"][0])

    async def counted() -> bool:
        report = (await bridge.get("/health")).json()
        return bool(report["metrics"]["messages_processed_total"] == 1)

    await until(counted)


async def test_a_bot_that_telegram_refuses_is_critical(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    await sandbox.post(f"/bots/{BOT_ID}/revoke")
    async with client_of(bridge_app.create_app, bridge_settings()) as client:

        async def critical() -> bool:
            answer = await client.get("/health")
            return answer.status_code == 503 and answer.json()["status"] == "critical"

        await until(critical)
        telegram = (await client.get("/health")).json()["components"]["telegram_api"]
        assert telegram["error"] == "invalid_token"
        assert (await client.get("/health/live")).status_code == 200
        assert (await post(client))["status"] == "queued"


async def test_telegram_out_of_reach_is_unhealthy_and_events_are_taken(
    bridge_settings: BridgeFactory,
) -> None:
    settings = bridge_settings(telegram_api_url=f"http://127.0.0.1:{free_port()}")
    async with client_of(bridge_app.create_app, settings) as client:

        async def unhealthy() -> bool:
            report = (await client.get("/health")).json()
            return bool(report["components"]["telegram_api"]["status"] == "unhealthy")

        async def ready() -> bool:
            # Not before the database was asked for the first time.
            return (await client.get("/health/ready")).status_code == 200

        await until(unhealthy)
        await until(ready)
        assert (await post(client))["status"] == "queued"


# Metrics


async def test_every_series_is_there_before_anything_happened(bridge: AsyncClient) -> None:
    samples = await metrics(bridge)
    for kind, category in CATEGORY_OF.items():
        assert value(samples, "cctelegram_messages_total", type=kind, category=category) == 0
    for reason in Reason:
        for name in ("messages_failed", "retries", "dead_letters", "unknown_outcomes"):
            assert value(samples, f"cctelegram_{name}_total", reason=reason.value) == 0
    for bound in ("0.1", "0.5", "1.0", "5.0"):
        assert value(samples, "cctelegram_message_duration_seconds_bucket", le=bound) == 0
    assert not [name for name, _ in samples if name == "cctelegram_delivery_rate_percent"]


async def test_the_queue_has_samples_once_it_is_measured(bridge: AsyncClient) -> None:
    async def measured() -> Any:
        samples = await metrics(bridge)
        return samples if any(name == "cctelegram_queue_depth" for name, _ in samples) else None

    samples = await until(measured)
    for state in ("queued", "scheduled", "sending", "retry_wait", "unknown", "dead_letter"):
        assert value(samples, "cctelegram_queue_depth", state=state) == 0
    assert value(samples, "cctelegram_oldest_message_age_seconds") == 0
    assert value(samples, "cctelegram_active_correlations") == 0


@on_sqlite
@pytest.mark.parametrize("method", ["sendMessage"])
@pytest.mark.parametrize("outcome", ["sent", "not_sent", "unknown"])
async def test_every_call_to_telegram_has_its_series(bridge: AsyncClient, method: str, outcome: str) -> None:
    samples = await metrics(bridge)
    labels = {"method": method, "outcome": outcome}
    assert value(samples, "cctelegram_telegram_api_response_seconds_count", **labels) == 0


@on_sqlite
@pytest.mark.parametrize(
    "name",
    [
        "cctelegram_messages_delivered_total",
        "cctelegram_message_duration_seconds_count",
        "cctelegram_rate_limit_wait_seconds_count",
        "cctelegram_oldest_message_age_seconds",
        "cctelegram_active_correlations",
        "auth_failed_attempts_total",
        "rate_limit_hits_total",
        "suspicious_ip_blocks_total",
    ],
)
async def test_nothing_has_happened_yet(bridge: AsyncClient, name: str) -> None:
    await until(partial(_is_measured, bridge, name))
    assert value(await metrics(bridge), name) == 0


async def _is_measured(bridge: AsyncClient, name: str) -> bool:
    """The queue has no samples before it is measured."""
    return any(sample == name for sample, _ in await metrics(bridge))


@on_sqlite
@pytest.mark.parametrize(
    "name",
    [
        "cctelegram_active_connections",
        "cctelegram_memory_usage_bytes",
        "process_cpu_usage_percent",
        "event_loop_lag_seconds",
        "process_resident_memory_bytes",
        "database_connections_active",
    ],
)
async def test_the_process_is_measured(bridge: AsyncClient, name: str) -> None:
    assert value(await metrics(bridge), name) >= 0


async def test_what_happens_is_counted(bridge: AsyncClient, sandbox: Sandbox) -> None:
    await sandbox.faults({"kind": "reset"})
    await delivered(bridge, (await post(bridge))["message_ids"][0])

    async def counted() -> Samples | None:
        samples = await metrics(bridge)
        return samples if value(samples, "cctelegram_messages_delivered_total") else None

    samples = await until(counted)
    assert samples is not None
    labels = {"type": "task_completion", "category": "task"}
    assert value(samples, "cctelegram_messages_total", **labels) == 1
    assert value(samples, "cctelegram_message_duration_seconds_count") == 1
    assert value(samples, "cctelegram_retries_total", reason="no_answer") == 1
    assert value(samples, "cctelegram_unknown_outcomes_total", reason="no_answer") == 1
    for outcome, number in (("sent", 1), ("unknown", 1)):
        labels = {"method": "sendMessage", "outcome": outcome}
        assert value(samples, "cctelegram_telegram_api_response_seconds_count", **labels) == number


async def test_the_handler_label_is_the_route_and_never_the_path(bridge: AsyncClient) -> None:
    """FastAPI and the instrumentations have broken this between releases (DESIGN, section 4)."""
    taken = await post(bridge)
    await bridge.get(f"/api/v1/messages/{taken['message_ids'][0]}")
    await bridge.get(f"/api/v1/events/{taken['event_id']}")
    await bridge.get("/api/v1/nothing/of/the/kind")
    await bridge.post("/events", content=b"{")
    samples = await metrics(bridge)
    for method, handler, status in (
        ("POST", "/api/v1/events", "2xx"),
        ("POST", "/events", "4xx"),
        ("GET", "/api/v1/messages/{message_id}", "2xx"),
        ("GET", "/api/v1/events/{event_id}", "2xx"),
        ("none", "none", "4xx"),
    ):
        labels = {"method": method, "handler": handler, "status": status}
        assert value(samples, "http_requests_total", **labels) == 1, labels
    handlers = {dict(labels).get("handler", "") for _, labels in samples}
    assert not any(taken["event_id"] in handler or "nothing" in handler for handler in handlers)


async def test_no_label_holds_an_id(bridge: AsyncClient) -> None:
    taken = await post(bridge, HELLO | {"chat_id": 987_654_321, "correlation_id": "c-secret"})
    text = (await bridge.get("/metrics")).text
    for told in (taken["event_id"], taken["message_ids"][0], "987654321", "c-secret", KEY, DEFAULT_TOKEN):
        assert told not in text


# A store that goes away


async def test_a_database_that_is_stopped_is_503_and_then_all_is_well_again(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    programs = servers.postgres_programs()
    assert programs is not None
    with servers.postgres(programs) as server:
        server.sql("CREATE DATABASE bridge")
        settings = bridge_settings(database_url=server.url("bridge"))
        async with client_of(bridge_app.create_app, settings) as client:
            (kept,) = (await post(client))["message_ids"]
            await delivered(client, kept)
            server.signal(signal.SIGINT)
            await asyncio.to_thread(server.process.wait, 30)
            answers = await asyncio.gather(
                *(client.post("/events", json=HELLO) for _ in range(5)), client.get("/api/v1/messages")
            )
            assert {answer.status_code for answer in answers} == {503}
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
            await until(lambda: _ready(client, 503))
            await asyncio.to_thread(server.start)

            async def taken() -> Any:
                answer = await client.post("/events", json=HELLO)
                return answer.json() if answer.status_code == 202 else None

            await delivered(client, (await until(taken))["message_ids"][0])
            await until(lambda: _ready(client, 200))


async def _ready(client: AsyncClient, status: int) -> bool:
    return (await client.get("/health/ready")).status_code == status


_ROOM_BYTES = 200_000


def _no_file_beyond(size: int) -> None:
    """What is written beyond this fails with EFBIG, as on a full disk; only for this child."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@asynccontextmanager
async def bridge_process(folder: Path, sandbox: Sandbox, **more: Any) -> AsyncIterator[AsyncClient]:
    port = free_port()
    environment = {
        "BRIDGE_PORT": str(port),
        "DATA_DIR": str(folder),
        "API_KEY": KEY,
        "TELEGRAM_API_URL": sandbox.url,
        "PATH": "/usr/bin:/bin",
        # A file of bytecode that is cut short by the limit below would stay behind for others.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.bridge", env=environment, stderr=subprocess.DEVNULL, **more
    )
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {KEY}"}
    try:
        async with AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            await until(lambda: _answers(process, client))
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(process: asyncio.subprocess.Process, client: AsyncClient) -> bool:
    assert process.returncode is None, "the bridge has ended"
    try:
        return (await client.get("/health/live")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_full_disk_is_503_and_nothing_that_was_accepted_is_lost(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    big = HELLO | {"deliver_at": "2027-01-01T00:00:00Z", "data": {"results": "x" * 4_000}}
    accepted: list[str] = []
    async with bridge_process(tmp_path, sandbox):
        pass
    full = (tmp_path / "bridge.db").stat().st_size + _ROOM_BYTES
    async with bridge_process(tmp_path, sandbox, preexec_fn=partial(_no_file_beyond, full)) as client:

        async def refused() -> bool:
            answer = await client.post("/events", json=big)
            if answer.status_code == 202:
                accepted.extend(answer.json()["message_ids"])
                return False
            assert (answer.status_code, answer.json()["title"]) == (503, "Store unavailable")
            return True

        await until(refused)
    assert accepted
    async with bridge_process(tmp_path, sandbox) as client:
        found = {item["id"] for item in (await client.get("/api/v1/messages?limit=500")).json()["items"]}
        assert set(accepted) <= found
        assert (await post(client))["status"] == "queued"
