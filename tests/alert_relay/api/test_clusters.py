"""The routes of clusters, and docs/alertmanager.md: each of its examples is valid, and its commands run."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.clusters import configuration
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from tests import servers
from tests.alert_relay import payloads
from tests.alert_relay.payloads import alert, webhook
from tests.stack import servers as stack

PAGE = (Path(__file__).parents[3] / "docs" / "alertmanager.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
async def relay(relay_settings: AlertRelaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A running relay with the clusters of the page."""
    (text,) = blocks("toml")
    settings = relay_settings.model_copy(update={"alertmanager_clusters": SecretStr(text)})
    async with (
        running(app.create_app, settings) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        yield client


async def run(relay: httpx.AsyncClient, command: str) -> httpx.Response:
    """Makes the request of a curl command."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "curl"
    url = next(word for word in words if word.startswith("localhost:8081/"))
    body = words[words.index("-d") + 1] if "-d" in words else None
    method = "POST" if body else "GET"
    headers = {"Content-Type": "application/json"} if body else {}
    return await relay.request(method, url.removeprefix("localhost:8081"), content=body, headers=headers)


async def test_the_commands_of_the_page_list_clusters_and_join_one(relay: httpx.AsyncClient) -> None:
    old = {"externalURL": "https://old-alerts.example/"}
    (await relay.post("/webhook/alert", json=webhook(alert()) | old)).raise_for_status()
    (await relay.post("/webhook/alert", json=payloads.watchdog() | old)).raise_for_status()
    listing, joining = blocks("sh")
    before = (await run(relay, listing)).json()["clusters"]
    assert [(each["name"], each["configured"]) for each in before] == [
        ("https://old-alerts.example", False),
        ("laboratory", True),
        ("production", True),
    ]
    assert before[0]["prometheus"][0]["labels"]["instance"] == "prometheus"

    joined = (await run(relay, joining)).raise_for_status().json()
    assert joined["external_urls"] == [
        "http://am-1.example:9093",
        "http://am-2.example:9093",
        "https://alerts.example",
        "https://old-alerts.example",
    ]
    assert joined["watchdog_at"] is not None
    after = (await run(relay, listing)).json()["clusters"]
    assert [each["name"] for each in after] == ["laboratory", "production"]
    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    assert incident["alertmanager"] == "production"
    assert (await run(relay, joining)).json()["external_urls"] == joined["external_urls"]


@pytest.mark.parametrize(
    ("cluster", "url", "status", "words"),
    [
        ("nowhere", "https://x.example", 404, "No setting names a cluster nowhere"),
        ("laboratory", "https://alerts.example/", 409, "belongs to production; change the settings"),
        ("laboratory", "ftp://x", 422, "write a URL that begins with http"),
    ],
)
async def test_what_cannot_be_joined_says_why(
    relay: httpx.AsyncClient, cluster: str, url: str, status: int, words: str
) -> None:
    answer = await relay.post(f"/api/v1/clusters/{cluster}/external-urls", json={"external_url": url})

    assert answer.status_code == status
    assert words in answer.text


async def test_a_path_names_the_cluster_where_the_external_url_does_not(relay: httpx.AsyncClient) -> None:
    """Two containers of the same name: the first end must not resolve the alert of the other."""
    for cluster in ("production", "laboratory"):
        (await relay.post(f"/webhook/alert/{cluster}", json=webhook(alert()))).raise_for_status()
    over = webhook(alert(ends_at=payloads.START + 60))
    (await relay.post("/webhook/alert/production", json=over)).raise_for_status()

    found = (await relay.get("/api/v1/incidents")).json()["incidents"]
    assert {each["alertmanager"]: each["state"] for each in found} == {
        "production": "resolved",
        "laboratory": "firing",
    }
    assert (await relay.post("/webhook/alert/a%20b", json=over)).status_code == 422


async def test_each_episode_says_how_it_ended(relay: httpx.AsyncClient) -> None:
    await relay.post("/webhook/alert", json=webhook(alert("a"), alert("b", ends_at=payloads.START + 5)))
    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    shown = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()["alerts"]

    assert sorted((each["state"], each["ended_by"]) for each in shown) == [
        ("firing", None),
        ("over", "resolved"),
    ]


def test_the_configuration_of_the_page_is_valid(tmp_path: Path) -> None:
    receiver, rules = blocks("yaml")
    (tmp_path / "alertmanager.yml").write_text(receiver)
    (tmp_path / "rules.yml").write_text(rules)
    for program, command, file in (
        ("amtool", ("check-config",), "alertmanager.yml"),
        ("promtool", ("check", "rules"), "rules.yml"),
    ):
        checked = stack.run(program, *command, tmp_path / file)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assert yaml.safe_load(rules)["groups"][0]["rules"][0]["alert"] == "Watchdog"


def test_the_clusters_of_the_page_are_valid_as_json_too() -> None:
    (text,) = blocks("toml")
    clusters = configuration.read(text, (), ())
    written = {
        each.name: {"api_urls": list(each.api_urls), "external_urls": list(each.external_urls)}
        for each in clusters
    }

    assert configuration.read(json.dumps(written), (), ()) == clusters
