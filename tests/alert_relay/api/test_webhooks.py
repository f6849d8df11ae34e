"""The relay as a running service: real HTTP in, a sandbox's chat out."""

import json
from functools import partial
from typing import Any

import httpx
import pytest

from services.alert_relay.notifications import store as notifications
from services.alert_relay.settings import AlertRelaySettings
from services.contracts.events import CATEGORY_OF
from services.kit.web.login_blocker import FAILURES_BEFORE_BLOCK
from services.outbox.schema import event
from services.outbox.telegram.text import REPEATED
from tests.alert_relay import payloads
from tests.alert_relay.conftest import Phone, opened
from tests.alert_relay.payloads import START, alert, webhook
from tests.servers import KEY, until


async def post(relay: httpx.AsyncClient, payload: Any, **more: Any) -> httpx.Response:
    return await relay.post("/webhook/alert", json=payload, **more)


async def detail(relay: httpx.AsyncClient, position: int = 0) -> dict[str, Any]:
    page = (await relay.get("/api/v1/incidents")).json()
    found: dict[str, Any] = (await relay.get(f"/api/v1/incidents/{page['incidents'][position]['id']}")).json()
    return found


async def metrics(relay: httpx.AsyncClient) -> list[str]:
    return (await relay.get("/metrics")).text.splitlines()


async def test_an_alert_reaches_the_chat_and_its_resolution_too(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    answer = await post(relay, webhook(alert()))
    (fired,) = await phone.messages(1)
    await post(relay, webhook(alert(ends_at=START + 300)))

    edited, over = await phone.messages(2)
    assert answer.status_code == 200
    assert answer.json()["status"] == "alert_sent"
    assert set(answer.json()) == {"status", "timestamp"}
    assert fired["message"]["text"].startswith("🔥 HighErrorRate (critical)\nHighErrorRate on a\n")
    assert edited["message"]["text"].startswith("✅ HighErrorRate (critical) resolved\nHighErrorRate on a\n")
    assert (
        over["message"]["text"]
        == "✅ HighErrorRate (critical) resolved after 5 min · http://alertmanager:9093"
    )
    first = fired["message"]["message_id"]
    assert (edited["message"]["message_id"], over["message"]["reply_to_message"]["message_id"]) == (
        first,
        first,
    )
    assert {entity["type"] for entity in fired["message"]["entities"]} >= {"bold", "code", "text_link"}


async def test_an_alert_that_may_be_in_the_chat_already_is_marked(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    lost = {"kind": "close", "deliver": True, "methods": ["sendMessage"], "times": 1}
    (await phone.client.post("/control/faults", json=lost)).raise_for_status()
    (await relay.post("/webhook/alert", json=webhook(alert()))).raise_for_status()
    first, again = [each["message"]["text"] for each in await phone.messages(2)]
    assert again == f"{REPEATED}\n{first}"


async def test_a_webhook_has_the_key_as_the_password_of_basic_auth_too(relay: httpx.AsyncClient) -> None:
    """Other routes take no password: a browser sends one by itself."""
    del relay.headers["authorization"]
    body = webhook(alert())
    for path, password, status in (
        ("/webhook/alert", KEY, 200),
        ("/webhook/alert/lab", KEY, 200),
        ("/webhook/alert", "wrong", 401),
    ):
        answer = await relay.post(path, json=body, auth=("alertmanager", password))
        assert answer.status_code == status
    assert (await relay.get("/api/v1/incidents", auth=("alertmanager", KEY))).status_code == 401


async def test_what_a_real_alertmanager_sent_reaches_the_chat(relay: httpx.AsyncClient, phone: Phone) -> None:
    for name in ("first", "joined_and_moved_back", "resolved_while_another_is_silenced", "refired"):
        assert (await post(relay, payloads.recorded(name))).status_code == 200

    texts = [each["message"]["text"].splitlines()[:2] for each in await phone.messages(3)]
    assert texts == [
        ["🔥 HighErrorRate (critical): 2 firing · http://alertmanager:9093", ""],
        ["🔥 HighErrorRate (critical)", "HighErrorRate on b2"],
        ["🔥 HighErrorRate (critical)", "HighErrorRate on b2"],
    ]


async def test_an_alert_that_cannot_be_read_loses_only_itself(relay: httpx.AsyncClient, phone: Phone) -> None:
    mixed = webhook(alert()) | {"alerts": [alert(), alert("b") | {"status": "silenced"}]}
    assert (await post(relay, mixed)).status_code == 200

    message, fault = await phone.messages(2)
    assert message["message"]["text"].startswith("🔥 HighErrorRate (critical)\nHighErrorRate on a\n")
    assert "1 alert could not be read\nalerts[1].status: write" in fault["message"]["text"]
    assert "cctelegram_alerts_unreadable_total 1.0" in await metrics(relay)


async def state_of(relay: httpx.AsyncClient, name: str) -> str | None:
    """The state of the last message about an alert, once it has ended."""
    found = (await relay.get("/api/v1/incidents")).json()["incidents"]
    incident = next(each for each in found if each["alertname"] == name)
    shown = (await relay.get(f"/api/v1/incidents/{incident['id']}")).json()["timeline"][-1]["messages"][0]
    return shown["state"] if shown["finished_at"] else None


async def test_a_chat_that_refused_one_alert_gets_the_next_ones_when_it_takes_them_again(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    await phone.client.post("/control/chats/1001/block")
    for name, severity, state in (
        ("Refused", "critical", "dead_letter"),
        ("RefusedToo", "critical", "dead_letter"),
        ("NotTried", "warning", "suppressed"),
        ("NotificationDeliveryFailing", "critical", "suppressed"),
    ):
        await post(relay, webhook(alert(name=name, severity=severity)))
        assert await until(partial(state_of, relay, name)) == state

    await phone.client.post("/control/chats/1001/unblock")
    for name, severity in (("Back", "critical"), ("Warning", "warning")):
        await post(relay, webhook(alert(name=name, severity=severity)))
        assert await until(partial(state_of, relay, name)) == "delivered"
    shown = await metrics(relay)
    assert 'cctelegram_notifications_total{channel="telegram",outcome="failed"} 2.0' in shown
    assert 'cctelegram_notifications_total{channel="telegram",outcome="suppressed"} 2.0' in shown


async def test_an_info_alert_arrives_without_a_sound(relay: httpx.AsyncClient, phone: Phone) -> None:
    await post(relay, webhook(alert(severity="info")))

    (message,) = await phone.messages(1)
    assert message["silent"] is True


async def test_an_incident_tells_what_came_what_was_told_and_whether_it_arrived(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    await post(relay, webhook(alert()))
    (message,) = await phone.messages(1)

    async def delivered() -> bool:
        state: str = (await detail(relay))["timeline"][-1]["messages"][0]["state"]
        return state == "delivered"

    await until(delivered)
    incident = await detail(relay)
    notification = incident["timeline"][1]
    assert [entry["kind"] for entry in incident["timeline"]] == ["firing", "notified"]
    assert notification["detail"]["about"] == ["firing"]
    assert notification["messages"][0]["telegram_message_ids"] == [message["message"]["message_id"]]
    assert notification["messages"][0]["chat_id"] == 1001
    assert incident["alerts"][0]["starts_at"] == "2026-01-01T00:00:00.000Z"
    assert incident["alerts"][0]["ends_at"] is None


async def test_the_timeline_goes_on_to_the_resolution(relay: httpx.AsyncClient) -> None:
    await post(relay, webhook(alert()))
    await post(relay, webhook(alert(ends_at=START + 300)))

    incident = await detail(relay)
    kinds = [entry["kind"] for entry in incident["timeline"]]
    # Its message is edited, and answered.
    assert kinds == ["firing", "notified", "resolved", "closed", "notified", "notified"]
    assert incident["state"] == "resolved"
    assert incident["resolved_at"] is not None


async def test_incidents_come_in_pages_newest_first(relay: httpx.AsyncClient) -> None:
    for number in range(5):
        await post(relay, webhook(alert(str(number), name=f"Alert{number}")))

    names: list[list[str]] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = (await relay.get("/api/v1/incidents", params={"limit": 2, **cursor})).json()
        names.append([incident["alertname"] for incident in page["incidents"]])
        cursor = {"cursor": page["next_cursor"]}
    assert names == [["Alert4", "Alert3"], ["Alert2", "Alert1"], ["Alert0"]]
    assert page["next_cursor"] is None


async def test_incidents_are_filtered_by_state(relay: httpx.AsyncClient) -> None:
    await post(relay, webhook(alert("a", name="Old", ends_at=START + 9)))
    await post(relay, webhook(alert("b", name="New")))

    by_state = {
        state: [
            incident["alertname"]
            for incident in (await relay.get("/api/v1/incidents", params={"state": state})).json()[
                "incidents"
            ]
        ]
        for state in ("firing", "resolved")
    }
    assert by_state == {"firing": ["New"], "resolved": ["Old"]}


async def test_the_message_belongs_to_the_trace_of_the_call(
    relay: httpx.AsyncClient, relay_settings: AlertRelaySettings
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    await post(relay, webhook(alert()), headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})

    async with opened(relay_settings.database("alert_relay"), relay_settings.data_dir) as relay_store:
        (stored,) = await relay_store.rows(event)
    assert stored["traceparent"].split("-")[1] == trace_id


async def test_every_counter_is_there_from_the_start_and_no_age_of_the_watchdog(
    relay: httpx.AsyncClient,
) -> None:
    lines = await metrics(relay)

    assert {
        'cctelegram_alerts_received_total{status="firing"} 0.0',
        'cctelegram_alerts_received_total{status="resolved"} 0.0',
        'cctelegram_notifications_total{channel="telegram",outcome="delivered"} 0.0',
        'cctelegram_notifications_total{channel="telegram",outcome="failed"} 0.0',
        'cctelegram_notifications_total{channel="telegram",outcome="suppressed"} 0.0',
        'cctelegram_notifications_total{channel="telegram",outcome="unknown"} 0.0',
        "cctelegram_alerts_unreadable_total 0.0",
        "cctelegram_notification_delay_seconds_count 0.0",
        "cctelegram_incident_resolve_seconds_count 0.0",
    } <= set(lines)
    assert not [line for line in lines if line.startswith("cctelegram_watchdog_age_seconds")]
    assert "# TYPE cctelegram_watchdog_age_seconds gauge" in lines


async def test_what_happens_is_counted(relay: httpx.AsyncClient, phone: Phone) -> None:
    await post(relay, webhook(alert()))
    await post(relay, webhook(alert(ends_at=START + 300)))
    await post(relay, payloads.watchdog())
    await phone.messages(2)

    async def settled() -> bool:
        expected = 'cctelegram_notifications_total{channel="telegram",outcome="delivered"} 3.0'
        return expected in await metrics(relay)

    await until(settled)
    lines = await metrics(relay)
    assert {
        'cctelegram_alerts_received_total{status="firing"} 2.0',
        'cctelegram_alerts_received_total{status="resolved"} 1.0',
        "cctelegram_notification_delay_seconds_count 3.0",
        "cctelegram_incident_resolve_seconds_count 1.0",
        "cctelegram_incident_resolve_seconds_sum 300.0",
    } <= set(lines)
    (age,) = [line for line in lines if line.startswith("cctelegram_watchdog_age_seconds ")]
    assert 0 <= float(age.split()[1]) < 10


async def test_a_chat_that_refuses_the_bot_is_a_failed_notification(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    await phone.client.post("/control/chats/1001/block")
    await post(relay, webhook(alert()))

    async def failed() -> bool:
        return 'cctelegram_notifications_total{channel="telegram",outcome="failed"} 1.0' in await metrics(
            relay
        )

    await until(failed)


async def test_health_says_unknown_of_the_watchdog_until_it_comes(relay: httpx.AsyncClient) -> None:
    async def status() -> Any:
        return (await relay.get("/health")).json()["components"]

    async def measured() -> bool:
        return all(part["last_check"] for part in (await status()).values())

    await until(measured)
    components = await status()
    assert set(components) == {
        "database",
        "telegram_api",
        "telegram_updates",
        "message_queue",
        "watchdog",
        "redis_connection",
    }
    assert components["watchdog"]["status"] == "unknown"
    assert components["database"]["status"] == components["telegram_api"]["status"] == "healthy"


async def test_the_relay_is_ready_without_telegram_and_without_a_watchdog(relay: httpx.AsyncClient) -> None:
    """What it takes in is safe; it delivers when Telegram is back."""

    async def ready() -> bool:
        return (await relay.get("/health/ready")).status_code == 200

    await until(ready)


async def test_an_alert_without_a_key_is_refused(relay: httpx.AsyncClient) -> None:
    answer = await post(relay, webhook(alert()), headers={"Authorization": "Bearer wrong"})

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await relay.get("/api/v1/incidents")).json()["incidents"] == []


async def test_whoever_guesses_keys_is_told_to_wait_and_alertmanager_is_still_heard(
    relay: httpx.AsyncClient,
) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    tried = [await post(relay, webhook(alert()), headers=wrong) for _ in range(FAILURES_BEFORE_BLOCK + 2)]
    assert [answer.status_code for answer in tried][-3:] == [401, 429, 429]
    assert int(tried[-1].headers["Retry-After"]) > 0

    assert (await post(relay, webhook(alert()))).status_code == 200
    text = (await relay.get("/metrics")).text
    assert f"auth_failed_attempts_total {FAILURES_BEFORE_BLOCK + 2}.0" in text
    assert "suspicious_ip_blocks_total 1.0" in text


async def test_malformed_json_is_named_as_such(relay: httpx.AsyncClient) -> None:
    answer = await relay.post(
        "/webhook/alert", content=b'{"version": "4", ', headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "JSON" in answer.json()["errors"][0]["msg"]


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        (webhook(alert()) | {"alerts": "none"}, ["body", "alerts"]),
        ({k: v for k, v in webhook(alert()).items() if k != "groupKey"}, ["body", "groupKey"]),
        *(
            (webhook(alert()) | {"truncatedAlerts": number}, ["body", "truncatedAlerts"])
            for number in (False, "1", -1, 2**53 + 1, 10**30)
        ),
        ([], ["body"]),
    ],
)
async def test_a_wrong_field_is_named(relay: httpx.AsyncClient, payload: Any, where: list[Any]) -> None:
    answer = await post(relay, payload)

    assert answer.status_code == 422
    assert where in [entry["loc"] for entry in answer.json()["errors"]]


async def test_a_url_of_alertmanager_that_is_too_long_loses_no_alert(relay: httpx.AsyncClient) -> None:
    """Alertmanager does not repeat a webhook that was refused."""
    long = webhook(alert()) | {"externalURL": "http://" + "x" * 40_000}
    assert (await post(relay, long)).status_code == 200


async def test_a_body_over_the_limit_is_refused(relay: httpx.AsyncClient) -> None:
    huge = webhook(*[alert(str(number)) for number in range(1_000)])

    assert (await post(relay, huge)).status_code == 413


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe{\x00}\x00",
        b'"\\ud800"',
        b'{"labels": {"\\ud800": 1}, "alerts": [{"labels": {"\\ud800": 1}}]}',
        b"[" * 5_000,
        b"NaN",
        b"",
    ],
)
async def test_a_hostile_body_is_the_callers_error(relay: httpx.AsyncClient, content: bytes) -> None:
    answer = await relay.post("/webhook/alert", content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_half_a_character_in_a_label_does_not_keep_an_alert_from_people(
    relay: httpx.AsyncClient, phone: Phone
) -> None:
    odd = json.dumps(webhook(alert() | {"labels": {"alertname": "Odd", "half \ud800": "\udc00"}}))
    answer = await relay.post("/webhook/alert", content=odd, headers={"Content-Type": "application/json"})

    (message,) = await phone.messages(1)
    assert answer.status_code == 200
    assert message["message"]["text"].startswith("🔥 Odd")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/incidents?cursor=yesterday", 422),
        ("/api/v1/incidents?state=acknowledged-by-nobody", 422),
        ("/api/v1/incidents?limit=0", 422),
        ("/api/v1/incidents/not-an-id", 422),
        ("/api/v1/incidents/019b0000-0000-7000-8000-000000000000", 404),
    ],
)
async def test_a_question_that_has_no_answer_gets_a_problem(
    relay: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await relay.get(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_event_type_is_one_of_the_contracts() -> None:
    assert CATEGORY_OF[notifications.EVENT_TYPE] == notifications.CATEGORY
