"""The routes by which people and programs handle incidents, and docs/incidents.md: its commands run."""

import os
import re
import subprocess
from asyncio import to_thread
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import servers
from tests.alert_relay.payloads import alert, webhook

PAGE = (Path(__file__).parents[3] / "docs" / "incidents.md").read_text()
UNKNOWN = "01a1fd93-7b93-7466-ba5b-6bba60135904"


async def opened(relay: httpx.AsyncClient, *instances: str) -> dict[str, Any]:
    posted = await relay.post("/webhook/alert", json=webhook(*(alert(each) for each in instances or "a")))
    assert posted.status_code == 200
    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    return dict(incident)


async def send(relay: httpx.AsyncClient, incident: dict[str, Any], name: str, **body: Any) -> httpx.Response:
    content = {"version": incident["version"]} | body
    return await relay.post(f"/api/v1/incidents/{incident['id']}/{name}", json=content)


async def test_an_incident_is_acknowledged_by_name_and_the_time_until_then_is_measured(
    relay: httpx.AsyncClient,
) -> None:
    incident = await opened(relay)

    acknowledged = (await send(relay, incident, "ack", by="Ada")).json()

    assert (acknowledged["state"], acknowledged["version"]) == ("acknowledged", 2)
    assert acknowledged["acknowledged_by"] == {"kind": "api", "name": "Ada", "user_id": None}
    shown = (await relay.get("/metrics")).text
    assert "cctelegram_incident_ack_seconds_count 1.0" in shown
    listed = await relay.get("/api/v1/incidents", params={"state": "acknowledged"})
    assert [each["id"] for each in listed.json()["incidents"]] == [incident["id"]]


async def test_a_command_on_an_older_version_is_answered_with_the_incident_as_it_is(
    relay: httpx.AsyncClient,
) -> None:
    incident = await opened(relay)
    await opened(relay, "a", "b")

    refused = await send(relay, incident, "resolve", by="Ada")

    assert refused.status_code == 409
    assert refused.json()["incident"]["version"] == 2
    assert refused.json()["detail"] == (
        "The incident has changed: version 2 now, not 1. Look at it, and repeat."
    )


async def test_another_person_who_acknowledges_learns_who_handles_it(relay: httpx.AsyncClient) -> None:
    incident = await opened(relay)
    await send(relay, incident, "ack", by="Ada")

    refused = await send(relay, incident, "ack", version=2, by="Bob")
    taken_back = await send(relay, incident, "unack", version=2, by="Bob")
    acknowledged = await send(relay, incident, "ack", version=3, by="Bob")

    assert refused.status_code == 409
    assert refused.json()["detail"] == ("Ada has acknowledged the incident; take that back first (unack).")
    assert taken_back.json()["state"] == "firing"
    assert acknowledged.json()["acknowledged_by"]["name"] == "Bob"


async def test_an_incident_is_resolved_by_hand_and_its_alerts_end(relay: httpx.AsyncClient) -> None:
    incident = await opened(relay, "a", "b")

    resolved = (await send(relay, incident, "resolve", by="Ada")).json()

    detail = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()
    assert (resolved["state"], resolved["firing"]) == ("resolved", 0)
    assert [(each["state"], each["ended_by"]) for each in detail["alerts"]] == [("over", "by_hand")] * 2
    shown = (await relay.get("/metrics")).text
    assert "cctelegram_incidents_never_acknowledged_total 1.0" in shown
    assert 'cctelegram_alerts_per_incident_bucket{le="2.0"} 1.0' in shown


async def test_a_note_is_in_the_timeline_with_its_author(relay: httpx.AsyncClient) -> None:
    incident = await opened(relay)

    await send(relay, incident, "note", by="Ada", text="the disk of db-1 is full")

    detail = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()
    (note,) = [each for each in detail["timeline"] if each["kind"] == "note"]
    assert note["detail"]["text"] == "the disk of db-1 is full"
    assert note["actor"] == {"kind": "api", "name": "Ada", "user_id": None}


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("ack", {}, "version"),
        ("ack", {"version": 0}, "version"),
        ("ack", {"version": 1, "who": "Ada"}, "who"),
        ("ack", {"version": 1, "by": "A" * 201}, "by"),
        ("note", {"version": 1, "text": ""}, "text"),
    ],
)
async def test_an_invalid_command_is_refused_with_the_field(
    relay: httpx.AsyncClient, name: str, body: dict[str, Any], field: str
) -> None:
    incident = await opened(relay)

    refused = await relay.post(f"/api/v1/incidents/{incident['id']}/{name}", json=body)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["body", field]


@pytest.mark.parametrize("name", ["ack", "unack", "resolve"])
async def test_an_unknown_incident_is_not_found(relay: httpx.AsyncClient, name: str) -> None:
    refused = await relay.post(f"/api/v1/incidents/{UNKNOWN}/{name}", json={"version": 1})

    assert refused.status_code == 404


async def run(relay: httpx.AsyncClient, *blocks: str, **variables: str) -> str:
    """Runs blocks of the page as a person would, and returns what they printed."""
    script = "\n".join(blocks).replace("http://localhost:8081", str(relay.base_url).rstrip("/"))
    environment = {**os.environ, "CCT_API_KEY": servers.KEY, **variables}
    command = ["sh", "-ec", script.replace("curl ", "curl -sSf ")]
    done = await to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def test_the_commands_of_the_page_open_find_and_handle_an_incident(relay: httpx.AsyncClient) -> None:
    fire, *rest = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    await run(relay, fire)
    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]

    printed = await run(relay, *rest, ID=incident["id"])

    shown = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()
    assert incident["id"] in printed
    assert (shown["alertname"], shown["severity"]) == ("DiskFull", "critical")
    assert (shown["state"], shown["version"]) == ("resolved", 4)
    assert [
        each["kind"] for each in shown["timeline"] if each["actor"] and each["actor"]["name"] == "Ada"
    ] == [
        "acknowledged",
        "note",
        "closed",
    ]
