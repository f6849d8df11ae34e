"""The routes of maintenance windows, and docs/maintenance.md: its commands run."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.alert_relay.api.test_incident_commands import UNKNOWN, opened, run
from tests.alert_relay.conftest import Phone

PAGE = (Path(__file__).parents[3] / "docs" / "maintenance.md").read_text()
PATH = "/api/v1/maintenance-windows"
WINDOW = {"matchers": ["service=bridge"], "lasts": "2h", "by": "Ada", "reason": "deploy"}


async def begin(relay: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    made = await relay.post(PATH, json=WINDOW | changes)
    assert made.status_code == 201
    return dict(made.json())


async def test_a_window_holds_messages_back_until_it_is_ended(relay: httpx.AsyncClient, phone: Phone) -> None:
    window = await begin(relay)
    incident = await opened(relay)
    assert [each["id"] for each in incident["suppressed_by"]] == [window["id"]]
    shown = (await relay.get("/metrics")).text
    assert 'cctelegram_notifications_held_back_total{cause="maintenance"} 1.0' in shown

    for _ in range(2):
        ended = await relay.post(f"{PATH}/{window['id']}/end")
        assert (ended.status_code, ended.json()["state"]) == (200, "ended")

    texts = {each["message"]["text"].splitlines()[0] for each in await phone.messages(2)}
    name = 'service="bridge"'
    assert texts == {
        "🔥 HighErrorRate (critical)",
        f"🔧 Maintenance {name} is over. 1 incident, 1 still firing:",
    }
    detail = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()
    assert detail["suppressed_by"] == []


async def test_windows_are_listed_by_what_they_are(relay: httpx.AsyncClient) -> None:
    now = await begin(relay, name="now")
    later = await begin(
        relay,
        name="later",
        starts_at="2030-01-06T02:00:00+01:00",
        rule="FREQ=WEEKLY;BYDAY=SU",
        zone="Europe/Berlin",
    )
    await relay.delete(f"{PATH}/{now['id']}")

    listed = (await relay.get(PATH)).json()["windows"]
    over = (await relay.get(PATH, params={"state": "ended"})).json()["windows"]

    assert [(each["name"], each["state"]) for each in listed] == [("later", "scheduled")]
    assert [(each["name"], each["state"]) for each in over] == [("now", "ended")]
    assert (later["starts_at"], later["created_by"]["name"]) == ("2030-01-06T01:00:00.000Z", "Ada")


async def test_a_repetition_with_its_key_makes_one_window(relay: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "deploy-2.1"}
    made = [(await relay.post(PATH, json=WINDOW, headers=key)).json()["id"] for _ in range(2)]
    other = await relay.post(PATH, json=WINDOW | {"lasts": "3h"}, headers=key)

    assert made[0] == made[1]
    assert other.status_code == 422
    assert len((await relay.get(PATH)).json()["windows"]) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"matchers": ["service"]}, "matchers"),
        ({"matchers": ["service=~("]}, "matchers"),
        ({"matchers": []}, "matchers"),
        ({"lasts": "soon"}, "lasts"),
        ({"lasts": None}, "ends_at"),
        ({"rule": "FREQ=SECONDLY"}, "rule"),
        ({"rule": "FREQ=DAILY", "zone": "Mars"}, "zone"),
        ({"who": "Ada"}, "who"),
    ],
)
async def test_an_invalid_window_is_refused_with_the_field(
    relay: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    refused = await relay.post(PATH, json=WINDOW | changes)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"][:2] == ["body", field]


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/end"), ("DELETE", "")])
async def test_an_unknown_window_is_not_found(relay: httpx.AsyncClient, method: str, rest: str) -> None:
    assert (await relay.request(method, f"{PATH}/{UNKNOWN}{rest}")).status_code == 404


async def test_the_commands_of_the_page_make_and_end_a_window(relay: httpx.AsyncClient) -> None:
    blocks = [each for each in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "curl" in each]
    await run(relay, blocks[0])
    (window,) = (await relay.get(PATH)).json()["windows"]

    printed = await run(relay, *blocks, ID=window["id"])

    assert window["id"] in printed
    assert (await relay.get(PATH)).json()["windows"] == []
