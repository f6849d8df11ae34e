"""`POST /events` as programs send it: compressed, with a byte order mark, without a type."""

import gzip
import json

import pytest

from services.kit.web.bodies import BYTE_ORDER_MARK
from tests.bridge.people import Bridge

EVENT = json.dumps({"type": "info_notification", "title": "Backup done"}).encode()


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_an_event_needs_no_content_type(quick: Bridge, kind: str) -> None:
    answer = await quick.client.post("/events", content=EVENT, headers={"content-type": kind} if kind else {})
    assert answer.status_code == 202


@pytest.mark.parametrize("kind", ["text/csv", "application/xml", "image/png; q=1"])
@pytest.mark.parametrize(
    "path", ["/events", "/api/v1/events", "/hooks/grafana", "/api/v1/hooks/grafana/preview"]
)
async def test_a_type_that_is_no_json_is_415(quick: Bridge, path: str, kind: str) -> None:
    """As on the routes whose body FastAPI reads."""
    answer = await quick.client.post(path, content=EVENT, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["accept"]) == (415, "application/json")
    assert answer.json()["detail"].startswith("The body is JSON")


async def test_json_may_have_a_type_of_its_own(quick: Bridge) -> None:
    headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    assert (await quick.client.post("/events", content=EVENT, headers=headers)).status_code == 202


async def test_a_compressed_event_with_a_mark_is_the_same_request(quick: Bridge) -> None:
    key = {"Idempotency-Key": "backup-7"}
    packed = await quick.client.post(
        "/events", content=gzip.compress(BYTE_ORDER_MARK + EVENT), headers={**key, "content-encoding": "gzip"}
    )
    plain = await quick.client.post("/events", content=EVENT, headers=key)
    assert (packed.status_code, plain.status_code) == (202, 202)
    assert plain.headers["idempotent-replayed"] == "true"
    assert plain.content == packed.content
    shown = await quick.client.get(packed.json()["links"]["event"])
    assert shown.json()["event"] == json.loads(EVENT)


async def test_the_answer_links_to_the_message(quick: Bridge) -> None:
    links = (await quick.client.post("/events", content=EVENT)).json()["links"]
    assert (await quick.client.get(links["message"])).json()["title"] == "Backup done"


async def test_an_unknown_field_of_an_event_says_the_nearest_name(quick: Bridge) -> None:
    body = {"type": "info_notification", "titel": "x", "duration_ms": 5, "data": {"commit_hsh": "1"}}
    answer = await quick.client.post("/events", json=body)
    found = {".".join(entry["loc"]): entry["msg"] for entry in answer.json()["errors"]}
    assert found == {
        "title": "this field is missing",
        "titel": 'there is no such field; did you mean "title"?',
        "duration_ms": 'there is no such field; did you mean "data.duration_ms"?',
        "data.commit_hsh": 'there is no such field; did you mean "commit_hash"?',
    }
