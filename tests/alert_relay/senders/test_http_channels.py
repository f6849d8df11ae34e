"""Slack, PagerDuty and signed webhooks, at servers that answer as those do, refuse, fail and drop."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.alert_relay.channels.configuration import PagerDuty, SignedWebhook, SlackBot, SlackWebhook
from services.alert_relay.notifications.notification import Notification, Purpose
from services.alert_relay.senders import slack
from services.alert_relay.senders.channel_sender import ChannelService
from services.alert_relay.senders.delivery import Ending
from services.alert_relay.senders.pagerduty import PagerDutyEvents
from services.alert_relay.senders.slack import Slack
from services.alert_relay.senders.webhook import Webhooks
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Outcome, Reason
from tests.alert_relay.senders.loopback import Answer, HttpServer, http_server
from tests.alert_relay.senders.making import (
    EVENT,
    EVIL,
    INCIDENT,
    alert,
    delivery,
    incident,
    notification,
    storm,
)

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
KEY = "a1" * 16
TS = "1767225600.000123"
TOKEN = "xoxb-1234567890"
Make = Callable[[str], ChannelService]


def telemetry() -> Telemetry:
    return Telemetry("tests", ServiceSettings())


def by_webhook(url: str) -> Slack:
    return Slack({"ops": SlackWebhook(f"{url}/services/T/B/hidden")}, telemetry())


def by_bot(url: str) -> Slack:
    return Slack({"ops": SlackBot(TOKEN, "C0123456789", f"{url}/api")}, telemetry())


def pager(url: str) -> PagerDutyEvents:
    return PagerDutyEvents({"ops": PagerDuty(KEY, f"{url}/v2/enqueue")}, telemetry())


def webhooks(url: str) -> Webhooks:
    return Webhooks({"ops": SignedWebhook(f"{url}/alerts", SECRET)}, telemetry())


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with http_server() as running:
        yield running


async def send(make: Make, url: str, of: Notification | None = None, **changes: Any) -> Ending:
    service = make(url)
    try:
        return await service.send(delivery(of, **changes))
    finally:
        await service.close()


OK: dict[Make, Answer] = {
    by_webhook: Answer(200, b"ok"),
    by_bot: Answer(200, {"ok": True, "channel": "C0123456789", "ts": TS}),
    pager: Answer(202, {"status": "success", "message": "Event processed", "dedup_key": INCIDENT}),
    webhooks: Answer(204, b""),
}
CHANNELS = list(OK)


@pytest.mark.parametrize("make", CHANNELS)
async def test_the_receipt_is_what_the_channel_answered(server: HttpServer, make: Make) -> None:
    server.answers = [OK[make]]

    ended = await send(make, server.url)

    receipts: dict[Make, str] = {
        by_webhook: "HTTP 200: ok",
        by_bot: f"ts {TS}",
        pager: f"trigger: success, dedup_key {INCIDENT}",
        webhooks: "HTTP 204",
    }
    assert (ended.outcome, ended.detail) == (Outcome.SENT, receipts[make])


@pytest.mark.parametrize("make", CHANNELS)
@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (Answer(429, b"", {"Retry-After": "7"}), Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
        (Answer(400, b"invalid_payload"), Outcome.NOT_SENT, Reason.BAD_REQUEST),
        (Answer(403, b"invalid_token"), Outcome.NOT_SENT, Reason.NO_RIGHTS),
        (Answer(404, b"no_service"), Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND),
        (Answer(410, b"channel_is_archived"), Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND),
        (Answer(413, b""), Outcome.NOT_SENT, Reason.TOO_LARGE),
        (Answer(302, b"", {"Location": "http://127.0.0.1:1/"}), Outcome.NOT_SENT, Reason.BAD_REQUEST),
        (Answer(500, b""), Outcome.UNKNOWN, Reason.SERVER_ERROR),
        (Answer(503, b"", {"Retry-After": "7"}), Outcome.UNKNOWN, Reason.SERVER_ERROR),
        (Answer(drop=True), Outcome.UNKNOWN, Reason.NO_ANSWER),
    ],
)
async def test_an_outcome_is_decided_by_its_cause(
    server: HttpServer, make: Make, answer: Answer, outcome: Outcome, reason: Reason
) -> None:
    server.answers = [answer]

    ended = await send(make, server.url)

    assert (ended.outcome, ended.reason) == (outcome, reason)
    assert ended.retry_after == (7.0 if reason is Reason.FLOOD_CONTROL else None)
    assert len(server.calls) == 1
    assert "hidden" not in ended.detail


@pytest.mark.parametrize("make", CHANNELS)
async def test_a_server_that_is_not_there_has_nothing(make: Make) -> None:
    async with http_server() as gone:
        url = gone.url

    ended = await send(make, url)

    assert (ended.outcome, ended.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)
    assert "hidden" not in ended.detail


@pytest.mark.parametrize("make", CHANNELS)
async def test_an_answer_without_end_is_read_to_a_limit(server: HttpServer, make: Make) -> None:
    server.answers = [Answer(200, b"x" * 10_000_000)]

    ended = await send(make, server.url)

    assert len(ended.detail) < 1_000
    assert ended.outcome is (Outcome.UNKNOWN if make is by_bot else Outcome.SENT)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        ("ratelimited", Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
        ("invalid_auth", Outcome.NOT_SENT, Reason.NO_RIGHTS),
        ("not_in_channel", Outcome.NOT_SENT, Reason.NO_RIGHTS),
        ("channel_not_found", Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND),
        ("msg_too_long", Outcome.NOT_SENT, Reason.TOO_LONG),
        ("message_not_found", Outcome.NOT_SENT, Reason.CANNOT_EDIT),
        ("invalid_blocks", Outcome.NOT_SENT, Reason.BAD_REQUEST),
        ("internal_error", Outcome.UNKNOWN, Reason.SERVER_ERROR),
        ("", Outcome.UNKNOWN, Reason.BAD_ANSWER),
    ],
)
async def test_slacks_own_errors_have_their_causes(
    server: HttpServer, error: str, outcome: Outcome, reason: Reason
) -> None:
    server.answers = [Answer(200, {"ok": False, "error": error})]
    ended = await send(by_bot, server.url)
    assert (ended.outcome, ended.reason) == (outcome, reason)


async def test_the_bot_posts_edits_and_answers_in_the_thread(server: HttpServer) -> None:
    server.answers = [OK[by_bot]]
    first = await send(by_bot, server.url)
    changed = notification(Purpose.CHANGED, incident=incident(acknowledged_by="Ada <ada>"))
    await send(by_bot, server.url, changed, edits=first.number)
    await send(by_bot, server.url, notification(Purpose.NEWS), reply_to=first.number)

    posted, edited, answered = server.calls
    assert [call.path for call in server.calls] == [
        "/api/chat.postMessage",
        "/api/chat.update",
        "/api/chat.postMessage",
    ]
    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {TOKEN}"}
    assert posted.body["channel"] == "C0123456789"
    assert edited.body["ts"] == answered.body["thread_ts"] == TS
    assert "acknowledged by Ada &lt;ada&gt;" in edited.body["blocks"][-1]["elements"][0]["text"]
    assert "thread_ts" not in posted.body


@given(some.integers(0, 2**53))
def test_a_timestamp_of_slack_is_stored_as_a_number(number: int) -> None:
    if number < 10**16:
        assert slack.number_of(slack.timestamp(number)) == number


@pytest.mark.parametrize("ts", [None, 5, "", "1.5", "x.123456", "12345678901.123456"])
def test_what_is_no_timestamp_is_none(ts: object) -> None:
    assert slack.number_of(ts) is None


async def test_a_label_cannot_mention_anybody_in_slack(server: HttpServer) -> None:
    evil = alert(name=EVIL, labels={"alertname": EVIL, "x": EVIL}, annotations={"summary": EVIL})
    await send(by_webhook, server.url, notification(items=(evil,), incident=incident(name=EVIL)))

    body = server.calls[0].body
    # What is plain text to Slack is never read as markup.
    header, *sections = body["blocks"]
    assert header["text"]["type"] == "plain_text"
    for text in (body["text"], *(each["text"]["text"] for each in sections)):
        assert "<!channel>" not in text
        assert "&lt;!channel&gt; &amp; " in text


async def test_slack_gets_no_more_than_it_takes(server: HttpServer) -> None:
    long = alert(annotations={"summary": "s" * 10_000}, labels={"l": "v" * 10_000}, name="n" * 500)
    await send(by_webhook, server.url, notification(items=(long,) * 60))

    blocks = server.calls[0].body["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(len(each["text"]["text"]) <= 3_000 for each in blocks if each["type"] == "section")
    assert blocks[-1]["elements"][0]["text"] == "and 50 more"


@pytest.mark.parametrize(
    ("about", "action"),
    [
        (incident(), "trigger"),
        (incident(acknowledged_by="Ada"), "acknowledge"),
        (incident(resolved_at=5.0, acknowledged_by="Ada"), "resolve"),
        (incident(reopened=1), "trigger"),
    ],
)
async def test_pagerduty_follows_the_state_of_the_incident(
    server: HttpServer, about: object, action: str
) -> None:
    await send(pager, server.url, notification(Purpose.CHANGED, incident=about))

    body = server.calls[0].body
    assert (body["routing_key"], body["event_action"], body["dedup_key"]) == (KEY, action, INCIDENT)
    assert ("payload" in body) is (action == "trigger")


async def test_pagerduty_gets_what_people_need(server: HttpServer) -> None:
    await send(pager, server.url)

    body = server.calls[0].body
    payload = body["payload"]
    assert payload | {"custom_details": None} == {
        "summary": "[FIRING] DiskFull (critical) (europe)",
        "source": "db-1",
        "severity": "critical",
        "component": "orders",
        "class": "DiskFull",
        "group": "europe",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "custom_details": None,
    }
    assert payload["custom_details"]["alerts"][0]["labels"]["instance"] == "db-1"
    assert {"href": "https://runbooks.example/disk", "text": "Runbook"} in body["links"]


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("critical", "critical"),
        ("p1", "critical"),
        ("error", "error"),
        ("warning", "warning"),
        ("info", "info"),
    ],
)
async def test_pagerduty_knows_four_severities(server: HttpServer, severity: str, expected: str) -> None:
    await send(pager, server.url, notification(incident=incident(severity=severity)))
    assert server.calls[0].body["payload"]["severity"] == expected


async def test_a_storm_is_one_alert_of_pagerduty(server: HttpServer) -> None:
    await send(pager, server.url, storm(11))
    await send(pager, server.url, storm(0, 11))
    found = [(call.body["event_action"], call.body["dedup_key"]) for call in server.calls]
    assert found == [("trigger", "0190-storm"), ("resolve", "0190-storm")]


async def test_pagerduty_gets_no_more_than_it_takes(server: HttpServer) -> None:
    long = alert(annotations={f"a{n}": "s" * 10_000 for n in range(100)}, name="n" * 5_000)
    await send(pager, server.url, notification(items=(long,) * 100))
    assert len(server.calls[0].raw) < 512_000


async def test_a_webhook_is_signed_and_has_the_same_id_in_every_attempt(server: HttpServer) -> None:
    await send(webhooks, server.url)
    await send(webhooks, server.url, started_at=9.0)

    for call in server.calls:
        assert call.headers["webhook-id"] == "0190-message"
        signed = f"0190-message.{call.headers['webhook-timestamp']}.".encode() + call.raw
        digest = hmac.new(b"s" * 32, signed, hashlib.sha256).digest()
        assert call.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


async def test_a_webhook_has_the_documented_form(server: HttpServer) -> None:
    await send(webhooks, server.url)

    body = server.calls[0].body
    assert (body["type"], body["timestamp"]) == ("alert.opened", "2026-01-01T00:00:00.000Z")
    assert body["data"]["id"] == EVENT
    assert body["data"]["incident"] | {"alertname": ""} == {
        "id": INCIDENT,
        "version": 1,
        "state": "firing",
        "alertname": "",
        "severity": "critical",
        "firing": 1,
        "acknowledged_by": None,
        "acknowledged_at": None,
        "resolved_by": None,
        "resolved_at": None,
        "reopened": 0,
    }
    assert body["data"]["alerts"][0]["labels"]["instance"] == "db-1"


@pytest.mark.parametrize("make", CHANNELS)
async def test_a_server_that_answers_with_what_it_was_sent_shows_no_secret(
    server: HttpServer, make: Make
) -> None:
    server.answers = [Answer(400, f"{KEY} {TOKEN} {SECRET} /services/T/B/hidden".encode())]

    ended = await send(make, server.url)

    secrets: dict[Make, str] = {by_webhook: "hidden", by_bot: TOKEN, pager: KEY, webhooks: SECRET}
    assert secrets[make] not in ended.detail


@pytest.mark.parametrize(("make", "repeatable"), [(pager, True), (webhooks, True), (by_webhook, False)])
async def test_a_lost_answer_is_a_possible_duplicate_where_the_channel_cannot_know(
    server: HttpServer, make: Make, repeatable: bool
) -> None:
    server.answers = [Answer(drop=True)]
    assert (await send(make, server.url)).repeatable is repeatable


async def test_a_possible_repetition_in_slack_says_so(server: HttpServer) -> None:
    await send(by_webhook, server.url, perhaps_repeated=True)
    assert "Perhaps a repetition" in server.calls[0].body["blocks"][1]["text"]["text"]


async def test_calls_are_counted_by_channel(server: HttpServer) -> None:
    counted = telemetry()
    service = Slack({"ops": SlackWebhook(f"{server.url}/services/T/B/hidden")}, counted)
    await service.send(delivery())
    await service.close()

    labels = {"provider": "slack", "endpoint": "incoming_webhook", "status_code": "200"}
    assert counted.registry.get_sample_value("external_api_calls_total", labels) == 1.0


async def test_a_test_says_that_nothing_is_wrong(server: HttpServer) -> None:
    plain = replace(notification(Purpose.TEST), incident=None, items=(), cluster="")
    await send(by_webhook, server.url, plain)
    await send(pager, server.url, plain)

    assert "Nothing is wrong" in server.calls[0].raw.decode()
    assert server.calls[1].body["payload"]["severity"] == "info"
    assert server.calls[1].body["dedup_key"] == EVENT
