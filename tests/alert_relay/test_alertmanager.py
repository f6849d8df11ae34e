"""A real Alertmanager (Debian's), or a pair, in front of the real relay, with the sandbox behind it."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.alertmanager.snapshot import ABSENT_SECONDS
from services.alert_relay.reconciler import WARM_UP_SECONDS
from services.alert_relay.settings import AlertRelaySettings
from services.kit.clock import SystemClock, rfc3339
from services.kit.runner import running
from tests.alert_relay import servers
from tests.alert_relay.conftest import Phone
from tests.alert_relay.servers import fire, needs_alertmanager
from tests.ports import free_port
from tests.servers import KEY, http, until

pytestmark = needs_alertmanager


@pytest.fixture
async def relay_url(relay_settings: AlertRelaySettings) -> AsyncIterator[str]:
    settings = relay_settings.model_copy(update={"database_url": SecretStr("")})
    async with running(app.create_app, settings) as service:
        yield service.url


@pytest.fixture
async def alertmanager(relay_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with servers.alertmanager(tmp_path, free_port(), relay_url) as client:
        yield client


async def test_an_alert_that_fires_is_told_and_its_resolution_too(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str
) -> None:
    await fire(alertmanager, "b1")
    await phone.messages(1)
    await fire(alertmanager, "b1", resolved=True)

    texts = await first_lines(phone, 2)
    async with http(relay_url, key=KEY) as relay:
        (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    assert texts == [ENDS, ENDS]
    assert (incident["state"], incident["receiver"]) == ("resolved", "team-a.telegram+x")


async def test_an_alert_that_could_not_be_stored_comes_again_and_is_told_once(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str, tmp_path: Path
) -> None:
    """Alertmanager retries a 503 within a second or so."""
    async with http(relay_url) as relay:
        with closing(sqlite3.connect(tmp_path / "alert_relay.db")) as other:
            other.execute("ALTER TABLE webhook RENAME TO gone")
            await fire(alertmanager, "b1")
            await until(lambda: _refused(relay))
            other.execute("ALTER TABLE gone RENAME TO webhook")

        (message,) = await phone.messages(1)
    assert message["message"]["text"].splitlines()[:2] == ["🔥 HighErrorRate (critical)", "Errors on b1"]


async def _refused(relay: httpx.AsyncClient) -> bool:
    refusals = 'http_requests_errors_total{handler="/webhook/alert",method="POST"} 0.0'
    return refusals not in (await relay.get("/metrics")).text.splitlines()


class AheadClock(SystemClock):
    """A clock that runs ahead, so that Alertmanager seems to have run for long."""

    ahead = WARM_UP_SECONDS + 60

    def time(self) -> float:
        return super().time() + self.ahead


def reading(settings: AlertRelaySettings, *ports: int) -> AlertRelaySettings:
    """Settings of a relay that reads a cluster of Alertmanagers at these ports each second."""
    clusters = {"production": {"api_urls": [f"http://127.0.0.1:{port}" for port in ports]}}
    changes = {
        "database_url": SecretStr(""),
        "alertmanager_clusters": SecretStr(json.dumps(clusters)),
        "alertmanager_read_seconds": 1.0,
    }
    return settings.model_copy(update=changes)


async def first_lines(phone: Phone, count: int) -> list[str]:
    """The first line of each message, without how long it lasted and the cluster."""
    lines = [each["message"]["text"].splitlines()[0] for each in await phone.messages(count)]
    return [line.partition(" after ")[0] for line in lines]


FIRES, ENDS = "🔥 HighErrorRate (critical)", "✅ HighErrorRate (critical) resolved"


async def test_an_alert_that_resolves_while_it_is_silenced_is_told_and_its_next_firing_too(
    relay_settings: AlertRelaySettings, tmp_path: Path, phone: Phone
) -> None:
    """Alertmanager sends nothing of the end, and has the alert in its log as firing."""
    port = free_port()
    async with (
        running(partial(app.create_app, clock=AheadClock()), reading(relay_settings, port)) as service,
        servers.alertmanager(tmp_path, port, service.url) as alertmanager,
    ):
        await fire(alertmanager, "b1")
        await phone.messages(1)
        silence = await silenced(alertmanager)
        await until(lambda: is_one(tmp_path, "SELECT suppressed FROM episode WHERE closed_at IS NULL"))
        await fire(alertmanager, "b1", resolved=True)
        # The incident's message is edited, and the end answers it.
        assert await first_lines(phone, 2) == [ENDS, ENDS]
        (await alertmanager.delete(f"/api/v2/silence/{silence}")).raise_for_status()
        await fire(alertmanager, "b1", since=0)
        assert await first_lines(phone, 3) == [FIRES, ENDS, FIRES]


async def silenced(alertmanager: httpx.AsyncClient) -> str:
    now = SystemClock().time()
    silence = {
        "matchers": [{"name": "instance", "value": "b1", "isRegex": False, "isEqual": True}],
        "startsAt": rfc3339(now),
        "endsAt": rfc3339(now + 600),
        "createdBy": "a person",
        "comment": "of a test",
    }
    made = (await alertmanager.post("/api/v2/silences", json=silence)).raise_for_status()
    return str(made.json()["silenceID"])


async def is_one(folder: Path, query: str) -> bool:
    """Whether a query of the relay's database has one row, with the value 1."""
    with closing(sqlite3.connect(folder / "alert_relay.db")) as database:
        return database.execute(query).fetchall() == [(1,)]


async def test_an_alert_whose_alertmanager_lost_its_state_ends_when_it_stays_absent(
    relay_settings: AlertRelaySettings, tmp_path: Path, phone: Phone
) -> None:
    port, clock = free_port(), AheadClock()
    async with (
        running(partial(app.create_app, clock=clock), reading(relay_settings, port)) as service,
        http(service.url, key=KEY) as relay,
    ):
        async with servers.alertmanager(tmp_path / "before", port, service.url) as alertmanager:
            await fire(alertmanager, "b1")
            await phone.messages(1)
            await until(
                lambda: is_one(
                    tmp_path, "SELECT proven_urls IS NOT NULL FROM cluster WHERE joined_to IS NULL"
                )
            )
        async with servers.alertmanager(tmp_path / "after", port, service.url) as alertmanager:
            await until(lambda: episode_state(relay, "suspect"))
            clock.ahead += ABSENT_SECONDS
            assert await first_lines(phone, 2) == [ENDS, ENDS]
            assert await episode_state(relay, "over")
            await fire(alertmanager, "b1", since=0)
            assert await first_lines(phone, 3) == [FIRES, ENDS, FIRES]


async def episode_state(relay: httpx.AsyncClient, state: str) -> bool:
    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    (episode,) = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()["alerts"]
    return bool(episode["state"] == state)


async def test_a_pair_that_delivers_twice_after_the_relay_was_away_makes_one_incident(
    relay_settings: AlertRelaySettings, tmp_path: Path, phone: Phone
) -> None:
    """After a failure every peer delivers: prometheus/alertmanager#4108."""
    ports, gossip, relay_port = (free_port(), free_port()), (free_port(), free_port()), free_port()
    settings = reading(relay_settings, *ports).model_copy(update={"port": relay_port})
    url = f"http://127.0.0.1:{relay_port}"
    async with (
        servers.alertmanager(tmp_path / "a", ports[0], url, gossip=gossip) as first,
        servers.alertmanager(tmp_path / "b", ports[1], url, gossip=gossip[::-1]) as second,
    ):
        await until(lambda: has_a_peer(first))
        for each in (first, second):
            await fire(each, "b1")
        for each in (first, second):
            await until(partial(has_failed, each))
        async with running(app.create_app, settings) as service, http(service.url, key=KEY) as relay:
            await until(lambda: received(relay, 'cctelegram_alerts_received_total{status="firing"} 2.0'))
            for each in (first, second):
                await fire(each, "b1", resolved=True)
            assert await first_lines(phone, 2) == [ENDS, ENDS]
            (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
            assert (incident["alertmanager"], incident["state"], incident["episodes"]) == (
                "production",
                "resolved",
                1,
            )


async def has_a_peer(alertmanager: httpx.AsyncClient) -> bool:
    status = (await alertmanager.get("/api/v2/status")).json()["cluster"]
    return status["status"] == "ready" and len(status["peers"]) == 2


async def has_failed(alertmanager: httpx.AsyncClient) -> bool:
    failed = re.search(
        r'^alertmanager_notification_requests_failed_total{integration="webhook"} (\d+)$',
        (await alertmanager.get("/metrics")).text,
        re.MULTILINE,
    )
    return failed is not None and int(failed[1]) > 0


async def received(relay: httpx.AsyncClient, line: str) -> bool:
    return line in (await relay.get("/metrics")).text.splitlines()


async def test_a_window_over_a_firing_alert_holds_its_messages_back_and_its_end_notifies(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str
) -> None:
    async with http(relay_url, key=KEY) as relay:
        await fire(alertmanager, "b1")
        await phone.messages(1)
        wanted = {"matchers": ["alertname=HighErrorRate"], "lasts": "1h", "name": "deploy"}
        window = (await relay.post("/api/v1/maintenance-windows", json=wanted)).json()
        await fire(alertmanager, "b1", "b2")
        await until(partial(_firing, relay, 2))

        await relay.post(f"/api/v1/maintenance-windows/{window['id']}/end")

        messages = [each["message"]["text"] for each in await phone.messages(3)]
    news = next(text for text in messages if "2 firing" not in text and "still firing since" in text)
    assert "b2" in news
    assert any(
        text.startswith("🔧 Maintenance deploy is over. 1 incident, 1 still firing:") for text in messages
    )
    assert len(messages) == 3


async def _firing(relay: httpx.AsyncClient, number: int) -> bool:
    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    return bool(incident["firing"] == number)
