"""Notifications that did not arrive are listed, and sent again."""

from typing import Any

import httpx
import pytest

from tests.alert_relay.conftest import Phone
from tests.alert_relay.payloads import alert, webhook
from tests.servers import until


async def lost(relay: httpx.AsyncClient, phone: Phone, **changes: Any) -> None:
    await phone.client.post("/control/chats/1001/block")
    posted = await relay.post("/webhook/alert", json=webhook(alert(**changes)))
    assert posted.status_code == 200


async def until_listed(relay: httpx.AsyncClient, number: int, **query: str) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found = (await relay.get("/api/v1/dead-letters", params=query)).json()["dead_letters"]
        return found if len(found) == number else None

    found = await until(look)
    assert found is not None
    return found


async def test_a_dead_letter_is_listed_with_its_incident_and_telegrams_words(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    await lost(relay, phone)

    (letter,) = await until_listed(relay, 1)

    (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    assert letter["incident_id"] == incident["id"]
    assert (letter["title"], letter["chat_id"], letter["reason"]) == (
        "HighErrorRate firing",
        1001,
        "bot_blocked",
    )
    assert "bot was blocked by the user" in letter["detail"]


async def test_dead_letters_are_sent_again(relay: httpx.AsyncClient, phone: Phone) -> None:
    await lost(relay, phone)
    await until_listed(relay, 1)
    await phone.client.post("/control/chats/1001/unblock")

    replayed = await relay.post("/api/v1/dead-letters/replay")

    assert replayed.json() == {"replayed": 1}
    (message,) = await phone.messages(1)
    assert message["message"]["text"].startswith("🔥 HighErrorRate (critical)")
    assert (await relay.get("/api/v1/dead-letters")).json()["dead_letters"] == []
    assert (await relay.post("/api/v1/dead-letters/replay")).json() == {"replayed": 0}


async def test_a_suppressed_notification_is_listed_apart_and_sent_again_by_its_id(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    await lost(relay, phone)
    await until_listed(relay, 1)
    await lost(relay, phone, name="Quiet", severity="warning")
    (suppressed,) = await until_listed(relay, 1, state="suppressed")
    await phone.client.post("/control/chats/1001/unblock")

    path = f"/api/v1/dead-letters/{suppressed['message_id']}/replay"
    first, second = [await relay.post(path) for _ in range(2)]

    assert first.json() == {"message_id": suppressed["message_id"], "state": "queued"}
    assert second.status_code == 409
    (message,) = await phone.messages(1)
    assert message["message"]["text"].startswith("🔥 Quiet (warning)")


async def test_a_message_of_an_incident_that_was_replaced_is_not_sent_again(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    await lost(relay, phone)
    (letter,) = await until_listed(relay, 1)
    await phone.client.post("/control/chats/1001/unblock")
    await relay.post("/webhook/alert", json=webhook(alert("a"), alert("b")))
    await phone.messages(1)

    refused = await relay.post(f"/api/v1/dead-letters/{letter['message_id']}/replay")

    assert (refused.status_code, refused.json()["detail"]) == (409, "A later message has replaced it.")


@pytest.mark.parametrize("path", ["/api/v1/dead-letters?limit=0", "/api/v1/dead-letters?state=delivered"])
async def test_an_invalid_search_is_refused(relay: httpx.AsyncClient, path: str) -> None:
    assert (await relay.get(path)).status_code == 422


async def test_an_unknown_message_is_not_found(relay: httpx.AsyncClient) -> None:
    unknown = "01a1fd93-7b93-7466-ba5b-6bba60135904"

    assert (await relay.post(f"/api/v1/dead-letters/{unknown}/replay")).status_code == 404
