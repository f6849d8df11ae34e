"""PATCH /api/v1/messages/{id}: a delivered message is edited in the order of its chat."""

from typing import Any

import pytest

from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.bridge.people import ADA, Bridge, People, buttons

RETRY = [[{"text": "Retry", "data": "retry:7"}]]


async def sent(bridge: Bridge, **event: Any) -> str:
    accepted = await bridge.post(**({"title": "Build 7 runs"} | event))
    message_id = str(accepted["message_ids"][0])
    await bridge.until_message(message_id, "delivered")
    return message_id


async def edited(bridge: Bridge, message_id: str, **changes: Any) -> dict[str, Any]:
    answer = await bridge.client.patch(f"/api/v1/messages/{message_id}", json=changes)
    assert answer.status_code == 202, answer.text
    accepted = dict(answer.json())
    await bridge.until_message(accepted["message_id"], "delivered")
    return accepted


async def test_given_fields_are_changed_and_the_others_stay(talk: Bridge, people: People) -> None:
    first = await sent(talk, description="of *main*", format="markdown", buttons=RETRY, source="ci")
    accepted = await edited(talk, first, title="Build 7 is green")
    (shown,) = await people.messages(ADA)
    assert shown["text"].endswith("Build 7 is green\n\nof main\n\nci")
    assert buttons(shown) == ["Retry"]
    assert accepted["edits"] == first


async def test_null_sets_the_default(talk: Bridge, people: People) -> None:
    first = await sent(talk, description="it runs", buttons=RETRY)
    await edited(talk, first, description=None, buttons=None)
    (shown,) = await people.messages(ADA)
    assert shown["text"].endswith("Build 7 runs")
    assert buttons(shown) == []


async def test_both_messages_name_each_other(talk: Bridge) -> None:
    first = await sent(talk, correlation_id="run-7")
    accepted = await edited(talk, first, title="green")
    life = await talk.message(first)
    causes = [event["cause"] for event in life["events"]]
    assert f"edited by the key default: message {accepted['message_id']}" in causes
    assert life["status"] == "delivered"
    edit = await talk.message(accepted["message_id"])
    assert (edit["correlation_id"], edit["telegram_message_ids"]) == ("run-7", life["telegram_message_ids"])


async def test_a_tap_on_a_button_of_an_edit_is_known(talk: Bridge, people: People) -> None:
    first = await sent(talk)
    accepted = await edited(talk, first, buttons=RETRY)
    await people.tap(await people.question(ADA, "Build 7"), "Retry")
    await people.until_toast("Noted.")
    (response,) = await talk.responses()
    assert response["in_reply_to"]["message_id"] == accepted["message_id"]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"deliver_at": "2027-01-01T00:00:00Z"}, "It is queued"),
        ({"data": {"results": "x" * 4_900}}, "several parts"),
    ],
)
async def test_what_is_not_one_delivered_message_is_refused(
    talk: Bridge, event: dict[str, Any], why: str
) -> None:
    accepted = await talk.post(title="Build 7 runs", **event)
    message_id = accepted["message_ids"][0]
    if "data" in event:
        await talk.until_message(message_id, "delivered")
    answer = await talk.client.patch(f"/api/v1/messages/{message_id}", json={"title": "x"})
    assert (answer.status_code, why in answer.json()["detail"]) == (409, True), answer.text


async def test_an_invalid_change_names_its_field_and_stores_nothing(talk: Bridge) -> None:
    first = await sent(talk)
    for changes, place in (({"title": ""}, "title"), ({"chat_id": 5}, "chat_id"), ({"title": None}, "title")):
        answer = await talk.client.patch(f"/api/v1/messages/{first}", json=changes)
        assert answer.status_code == 422, answer.text
        assert place in answer.json()["errors"][0]["loc"]
    assert len((await talk.message(first))["events"]) == 3


async def test_an_unknown_message_is_not_found(talk: Bridge) -> None:
    answer = await talk.client.patch("/api/v1/messages/nothing", json={"title": "x"})
    assert answer.status_code == 404


async def test_what_was_deleted_in_the_chat_is_sent_once_more(talk: Bridge, people: People) -> None:
    first = await sent(talk)
    (number,) = (await talk.message(first))["telegram_message_ids"]
    path = f"/bot{DEFAULT_TOKEN}/deleteMessage"
    assert (
        await people.sandbox.client.post(path, json={"chat_id": ADA, "message_id": number})
    ).status_code == 200
    await edited(talk, first, title="Build 7 is green")
    (shown,) = await people.messages(ADA)
    assert shown["text"].endswith("Build 7 is green")
