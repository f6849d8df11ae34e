"""Accept: from a request's bytes to a submission. Pure."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.bridge.approvals.from_event import EventApprovals
from services.bridge.bots import Bot
from services.bridge.events import accept, addressed
from services.bridge.events.accept import FURTHEST, AcceptedRequest, Caller
from services.bridge.events.addressed import LARGEST_BATCH
from services.bridge.routes.routes import Routes, Rule, Target
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Lane, UnknownPolicy
from services.outbox.rate_limit.limits import Limits

NOW = 1_800_000_000.0
TRACE = TraceContext(0xABC, 0x123, sampled=True)
NOBODY = Caller("default", None, "", None)
BOTS = {
    "default": Bot("default", "1:a", "", (1001, 1002), frozenset({1001}), Limits()),
    "alerts": Bot("alerts", "2:b", "", (-5,), frozenset({1002}), Limits()),
    "silent": Bot("silent", "3:c", "", (-6,), frozenset(), Limits()),
}
HELLO: dict[str, Any] = {"type": "custom_event", "title": "hello"}


def read(body: Any, caller: Caller = NOBODY, *, trace_url: str = "") -> AcceptedRequest:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return accept.accept(
        addressed.address(raw, Routes({name: bot.chats for name, bot in BOTS.items()})),
        caller,
        TRACE,
        now=NOW,
        trace_url=trace_url,
        asks=EventApprovals(BOTS, 3_600.0),
    )


def refused(body: Any, caller: Caller = NOBODY) -> Problem:
    with pytest.raises(Problem) as problem:
        read(body, caller)
    return problem.value


def places(body: Any) -> list[list[Any]]:
    problem = refused(body)
    assert problem.status == 422
    assert problem.errors is not None
    return [list(entry["loc"]) for entry in problem.errors]


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def test_one_event_is_answered_with_its_ids() -> None:
    reading = read(HELLO)
    (event,), ((first, second),) = reading.submission.events, reading.submission.messages
    assert orjson.loads(reading.answer) == {
        "event_id": event.id,
        "message_ids": [first.id, second.id],
        "correlation_id": event.id,
        "trace_id": f"{0xABC:032x}",
        "status": "queued",
        "type": "custom_event",
        "links": {
            "event": f"/api/v1/events/{event.id}",
            "message": f"/api/v1/messages/{first.id}",
            "messages": [f"/api/v1/messages/{first.id}", f"/api/v1/messages/{second.id}"],
            "trace": None,
        },
    }
    assert (first.chat_id, second.chat_id) == (1001, 1002)
    assert (event.accepted_at, event.trace, event.severity, event.category) == (NOW, TRACE, "low", "custom")


def test_an_unknown_type_is_said_to_be_taken_as_custom_event() -> None:
    assert orjson.loads(read(HELLO | {"type": "new_thing"}).answer)["type"] == "custom_event"


def test_the_body_is_kept_as_it_was_posted() -> None:
    raw = b'  {"type": "x",\n "title": "\\u00e9"}  '
    assert read(raw).submission.events[0].body == raw.decode()


def test_a_list_is_one_batch_in_one_trace() -> None:
    reading = read([HELLO, HELLO | {"chat_id": 7, "title": "two"}])
    first, second = reading.submission.events
    assert orjson.loads(reading.answer)["accepted"][1]["event_id"] == second.id
    assert first.trace == TRACE
    assert second.trace.trace_id == TRACE.trace_id
    assert second.trace.span_id != TRACE.span_id
    assert [message.chat_id for message in reading.submission.messages[1]] == [7]
    assert orjson.loads(second.body) == {"type": "custom_event", "title": "two", "chat_id": 7}


@pytest.mark.parametrize("count", [1, LARGEST_BATCH])
def test_a_list_of_up_to_500_is_taken(count: int) -> None:
    assert len(read([HELLO] * count).submission.events) == count


@pytest.mark.parametrize("count", [0, LARGEST_BATCH + 1])
def test_a_list_of_none_or_more_is_not(count: int) -> None:
    assert places([HELLO] * count) == [["body"]]


def test_a_wrong_event_of_a_list_is_named_by_its_number() -> None:
    assert places([HELLO, HELLO | {"title": ""}, HELLO | {"data": {"exit_code": "x"}}]) == [
        [1, "title"],
        [2, "data", "exit_code"],
    ]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"5", b'"x"', b"\xff", b'{"type":', b"[{]", b"[5]", b"\xef\xbb\xbf{}"]
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    problem = refused(body)
    assert problem.status == 422
    assert problem.errors


def test_no_refusal_repeats_the_value() -> None:
    """It may be a secret."""
    body = refused(HELLO | {"severity": "s3cret", "titel": "s3cret"}).response().body
    assert b"s3cret" not in bytes(body)


@pytest.mark.parametrize(
    ("fields", "lane"),
    [
        ({}, Lane.NORMAL),
        ({"priority": "low"}, Lane.BULK),
        ({"priority": "high"}, Lane.NORMAL),
        ({"priority": "urgent"}, Lane.URGENT),
        ({"severity": "critical"}, Lane.URGENT),
        ({"severity": "critical", "priority": "low"}, Lane.URGENT),
        ({"severity": "high"}, Lane.NORMAL),
    ],
)
def test_who_goes_first(fields: dict[str, str], lane: Lane) -> None:
    assert read(HELLO | fields).submission.messages[0][0].lane is lane


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({}, "low"),
        ({"severity": "high"}, "high"),
        ({"data": {"severity": "medium"}}, "medium"),
        ({"severity": "low", "data": {"severity": "critical"}}, "low"),
    ],
)
def test_the_severity_of_an_event(fields: dict[str, Any], severity: str) -> None:
    assert read(HELLO | fields).submission.events[0].severity == severity


def test_what_a_message_is_asked_to_be() -> None:
    fields = {"chat_id": -5, "thread_id": 7, "silent": True, "on_unknown": "hold"}
    ((message,),) = read(HELLO | fields).submission.messages
    assert (message.chat_id, message.thread_id, message.silent) == (-5, 7, True)
    assert message.on_unknown is UnknownPolicy.HOLD


@pytest.mark.parametrize(
    ("deliver_at", "due"), [(None, 0.0), (at(60), NOW + 60), (at(-60), 0.0), (at(0), 0.0)]
)
def test_a_time_that_has_passed_is_as_good_as_now(deliver_at: str | None, due: float) -> None:
    ((message, _),) = read(HELLO | {"deliver_at": deliver_at}).submission.messages
    assert message.deliver_at == due


@pytest.mark.parametrize("field", ["deliver_at", "expires_at"])
@pytest.mark.parametrize("moment", [at(FURTHEST + 1), "9999-12-31T23:59:59Z"])
def test_a_time_that_nobody_means_is_refused(field: str, moment: str) -> None:
    assert places(HELLO | {field: moment}) == [[field]]
    assert places([HELLO, HELLO | {field: moment}]) == [[1, field]]


@pytest.mark.parametrize("moment", [at(301), at(-FURTHEST - 1), "0001-01-01T00:00:00+14:00"])
def test_an_event_happened_within_the_last_year(moment: str) -> None:
    assert places([HELLO, HELLO | {"timestamp": moment}]) == [[1, "timestamp"]]
    for near in (at(299), at(0), at(-FURTHEST + 1)):
        assert read(HELLO | {"timestamp": near}).submission.events


def test_what_has_expired_is_refused() -> None:
    assert places(HELLO | {"expires_at": at(-1)}) == [["expires_at"]]
    assert places(HELLO | {"expires_at": "0001-01-01T00:00:00+14:00"}) == [["expires_at"]]
    ((message, _),) = read(HELLO | {"expires_at": at(1)}).submission.messages
    assert message.expires_at == NOW + 1


def test_the_correlation_id_is_the_events_the_headers_or_the_events_own_id() -> None:
    caller = Caller("default", None, "from-header", None)
    assert read(HELLO | {"correlation_id": "from-event"}, caller).submission.events[0].correlation_id == (
        "from-event"
    )
    assert read(HELLO, caller).submission.events[0].correlation_id == "from-header"
    (event,) = read(HELLO).submission.events
    assert event.correlation_id == event.id


def test_a_callers_span_is_the_parent() -> None:
    parent = TraceContext(0xABC, 0x999, sampled=True)
    assert read(HELLO, Caller("default", parent, "", None)).submission.events[0].parent == parent


def test_the_answer_of_an_idempotency_key_is_kept_with_the_bodys_hash() -> None:
    body = orjson.dumps(HELLO)
    reading = read(body, Caller("default", None, "", "k-1"))
    key = reading.submission.idempotency
    assert key is not None
    assert (key.client, key.key) == ("default", "k-1")
    assert key.body_hash == hashlib.sha256(body).hexdigest()
    assert key.answer == reading.answer.decode()


def test_a_key_has_255_characters_at_most() -> None:
    assert read(HELLO, Caller("default", None, "", "k" * 255)).submission.idempotency
    for key in ("", "k" * 256):
        assert refused(HELLO, Caller("default", None, "", key)).status == 400


def test_the_answer_links_to_the_trace_where_there_is_a_viewer() -> None:
    answer = orjson.loads(read(HELLO, trace_url="http://jaeger").answer)
    assert answer["links"]["trace"] == f"http://jaeger/trace/{0xABC:032x}"


def test_a_duration_counts_from_the_acceptance() -> None:
    (one, _) = read(HELLO | {"deliver_at": "30m", "expires_in": "1h30m"}).submission.messages[0]
    assert (one.deliver_at, one.expires_at) == (NOW + 1_800, NOW + 5_400)
    (other, _) = read([HELLO | {"expires_at": "PT10M"}]).submission.messages[0]
    assert other.expires_at == NOW + 600


@pytest.mark.parametrize("field", ["expires_in", "expires_at"])
def test_an_event_that_expires_before_it_is_due_is_refused(field: str) -> None:
    assert places(HELLO | {"deliver_at": "30m", field: "10m"}) == [[field]]
    assert places([HELLO, HELLO | {"deliver_at": at(600), field: "10m"}]) == [[1, field]]


def test_an_event_expires_at_a_time_or_after_a_duration_and_not_both() -> None:
    assert places(HELLO | {"expires_at": at(60), "expires_in": "1m"}) == [["expires_in"]]


# Bots and questions


def test_an_event_goes_by_the_default_bot_or_the_one_it_names() -> None:
    (plain,) = read(HELLO).submission.messages
    assert [(m.bot, m.chat_id) for m in plain] == [("default", 1001), ("default", 1002)]
    (named,) = read(HELLO | {"bot": "alerts"}).submission.messages
    assert [(m.bot, m.chat_id) for m in named] == [("alerts", -5)]
    (both,) = read(HELLO | {"bot": "alerts", "chat_id": 7}).submission.messages
    assert [(m.bot, m.chat_id) for m in both] == [("alerts", 7)]
    (default,) = read(HELLO | {"bot": "default"}).submission.messages
    assert {m.bot for m in default} == {"default"}


@pytest.mark.parametrize("name", ["nobody", "Alerts", "", "a b", "x" * 33])
def test_a_bot_that_is_not_there_is_named_as_the_fault(name: str) -> None:
    assert [fault["loc"] for fault in refused(HELLO | {"bot": name}).errors or ()] == [["bot"]]
    assert [fault["loc"] for fault in refused([HELLO, HELLO | {"bot": name}]).errors or ()] == [[1, "bot"]]


ASKING = {"type": "approval_request", "title": "Deploy?", "data": {"approval_prompt": "now"}}


def test_a_question_is_one_for_the_people_of_its_bot() -> None:
    reading = read(ASKING | {"bot": "alerts"}, trace_url="")
    (event,), (messages,) = reading.submission.events, reading.submission.messages
    answer = orjson.loads(reading.answer)
    assert (event.id, [m.id for m in messages]) == (answer["event_id"], answer["message_ids"])
    assert [(m.bot, m.chat_id, m.lane) for m in messages] == [("alerts", -5, Lane.URGENT)]
    assert (event.severity, event.client) == ("high", "default")
    assert len(reading.codes) == 1
    assert reading.submission.alongside is not None
    assert orjson.loads(event.body)["event"] == ASKING | {"bot": "alerts"}


def test_what_asks_nothing_stores_nothing_beside_it() -> None:
    reading = read([HELLO, HELLO])
    assert (reading.codes, reading.submission.alongside) == ((), None)
    assert "approval_id" not in orjson.loads(reading.answer)["accepted"][0]


def test_a_question_of_a_bot_that_knows_nobody_is_refused() -> None:
    (fault,) = refused(ASKING | {"bot": "silent"}).errors or ()
    assert (fault["loc"], "TELEGRAM_ALLOWED_USERS" in fault["msg"]) == (["type"], True)


def test_a_question_has_one_bot() -> None:
    rule = Rule("both", (Target(1, bot="alerts"), Target(2)))
    routes = Routes({name: bot.chats for name, bot in BOTS.items()}, (rule,))
    with pytest.raises(Problem) as caught:
        accept.accept(
            addressed.address(orjson.dumps(ASKING), routes),
            NOBODY,
            TRACE,
            now=NOW,
            trace_url="",
            asks=EventApprovals(BOTS, 3_600.0),
        )
    (fault,) = caught.value.errors or ()
    assert (fault["loc"], "alerts, default" in fault["msg"]) == (["bot"], True)
