"""One trace has all spans of a message: a real bridge, a real sandbox, a real receiver."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.bridge import app as bridge
from services.bridge.settings import BridgeSettings
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.settings import SANDBOX_TOKEN
from services.outbox.tracing.message_spans import chat_hash
from tests.servers import KEY, Sandbox, client_of, until
from tests.services.otlp import Receiver, Span, grpc_receiver, receiver

CHAT = 1001
PARENT = TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled=True)
BridgeFactory = Callable[..., BridgeSettings]
#: The spans of a message that is delivered by the first attempt.
WAY = ["accept", "enqueue", "queue", "pace", "send", "settle"]
SERVER, PRODUCER, CLIENT = 2, 4, 3


async def spans_of_one_event(
    settings: BridgeSettings, received: Receiver, headers: dict[str, str], expected: int, **event: Any
) -> tuple[dict[str, Any], list[Span]]:
    """Posts one event, waits for its delivery, stops the bridge; answer and spans of its trace."""
    async with client_of(bridge.create_app, settings) as client:
        posted = await client.post(
            "/events", json={"type": "task_completion", "title": "Build finished"} | event, headers=headers
        )
        assert posted.status_code == 202, posted.text
        answer: dict[str, Any] = posted.json()

        async def delivered() -> bool:
            message = (await client.get(f"/api/v1/messages/{answer['message_ids'][0]}")).json()
            return message["status"] in ("delivered", "dead_letter")

        await until(delivered)
    spans = received.trace(answer["trace_id"])
    assert len(spans) == expected, [span.name for span in spans]
    return answer, spans


async def test_one_trace_holds_accept_enqueue_queue_pace_send_and_settle(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        answer, spans = await spans_of_one_event(
            settings, received, {"traceparent": PARENT.header()}, len(WAY)
        )
    by_name = {span.name: span for span in spans}
    assert sorted(by_name) == sorted(WAY)
    accept = by_name["accept"]
    assert answer["trace_id"] == f"{PARENT.trace_id:032x}"
    assert accept.parent_id == f"{PARENT.span_id:016x}"
    assert {span.parent_id for span in spans if span is not accept} == {accept.span_id}
    assert {span.service for span in spans} == {"bridge"}
    assert (accept.kind, by_name["enqueue"].kind, by_name["send"].kind) == (SERVER, PRODUCER, CLIENT)


async def test_the_same_trace_goes_over_grpc(bridge_settings: BridgeFactory, sandbox: Sandbox) -> None:
    with grpc_receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint, otel_exporter_otlp_protocol="grpc")
        _, spans = await spans_of_one_event(settings, received, {}, len(WAY))
    assert sorted(span.name for span in spans) == sorted(WAY)
    (accept,) = [span for span in spans if span.name == "accept"]
    assert {span.parent_id for span in spans if span is not accept} == {accept.span_id}


async def test_the_spans_follow_each_other_without_holes(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        _, spans = await spans_of_one_event(settings, received, {}, len(WAY))
    by_name = {span.name: span for span in spans}
    assert all(span.start <= span.end for span in spans)
    steps = [by_name[name] for name in ("queue", "pace", "send", "settle")]
    for earlier, later in itertools.pairwise(steps):
        assert earlier.end <= later.start
    assert by_name["accept"].start == by_name["enqueue"].start
    assert by_name["pace"].start == by_name["queue"].end
    assert by_name["settle"].start == by_name["send"].end


async def test_an_event_without_a_trace_begins_one(bridge_settings: BridgeFactory, sandbox: Sandbox) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        _, spans = await spans_of_one_event(settings, received, {}, len(WAY))
    (accept,) = [span for span in spans if span.name == "accept"]
    assert accept.parent_id == ""


async def test_the_message_is_found_by_its_tags(bridge_settings: BridgeFactory, sandbox: Sandbox) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        answer, spans = await spans_of_one_event(settings, received, {"x-correlation-id": "run-7"}, len(WAY))
    (message_id,) = answer["message_ids"]
    by_name = {span.name: span for span in spans}
    for name in ("queue", "pace", "settle"):  # an event may have several messages
        assert by_name[name].attributes == {"cctelegram.message_id": message_id, "cctelegram.attempt": 1}
    for span in (by_name["accept"], by_name["send"]):
        assert span.attributes["cctelegram.message_id"] == message_id
        assert span.attributes["cctelegram.correlation_id"] == "run-7"
        assert span.attributes["cctelegram.event_type"] == "task_completion"
        assert span.attributes["cctelegram.chat_hash"] == chat_hash(CHAT)
        assert span.attributes["messaging.system"] == "telegram"
    send = by_name["send"]
    assert send.attributes["cctelegram.outcome"] == "sent"
    assert send.attributes["cctelegram.state"] == "delivered"
    assert send.error == ""


async def test_each_attempt_has_spans_and_its_failure_is_in_them(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "answer", "status": 502, "description": "Bad Gateway", "times": 1})
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        _, spans = await spans_of_one_event(settings, received, {}, 2 + 2 * 4)
    sends = sorted((span for span in spans if span.name == "send"), key=lambda span: span.start)
    assert [span.attributes["cctelegram.attempt"] for span in sends] == [1, 2]
    assert [bool(span.error) for span in sends] == [True, False]


async def test_no_span_has_a_secret_a_chat_or_a_text_in_it(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    """Neither spans of messages nor of requests, also where sending fails with the URL in the error."""
    await sandbox.faults({"kind": "close", "times": 1})
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        chat = 77_001_001
        await sandbox.post("/chats", {"id": chat, "type": "private", "title": "Ada", "started": True})
        async with client_of(bridge.create_app, settings) as client:
            posted = await client.post(
                "/events",
                json={
                    "type": "task_completion",
                    "title": "Title of nobody's business",
                    "description": "of nobody's business",
                    "chat_id": chat,
                },
            )
            message_id = posted.json()["message_ids"][0]

            async def delivered() -> bool:
                message = (await client.get(f"/api/v1/messages/{message_id}")).json()
                return bool(message["status"] == "delivered")

            await until(delivered)
            await client.get("/api/v1/messages", params={"chat_id": str(chat)})
        spans = received.spans
    assert {span.name for span in spans} >= {*WAY, "GET /api/v1/messages"}
    everything = "\n".join(span.raw for span in spans)
    for secret in (SANDBOX_TOKEN, SANDBOX_TOKEN.partition(":")[2], KEY, str(chat), "nobody"):
        assert secret not in everything


async def test_sampling_none_exports_none(bridge_settings: BridgeFactory, sandbox: Sandbox) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=0)
        await spans_of_one_event(settings, received, {}, 0)
        assert received.spans == []


async def test_a_caller_who_samples_is_followed_whatever_our_share(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=0)
        await spans_of_one_event(settings, received, {"traceparent": PARENT.header()}, len(WAY))


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
async def test_a_traceparent_that_is_none_is_no_reason_to_refuse(
    header: str, bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
        await spans_of_one_event(settings, received, {"traceparent": header}, len(WAY))


async def test_a_receiver_that_is_away_costs_no_event(
    bridge_settings: BridgeFactory, sandbox: Sandbox, tmp_path: Path
) -> None:
    with receiver() as (received, endpoint):
        pass  # gone again
    settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint)
    await spans_of_one_event(settings, received, {}, 0)
    assert len(await sandbox.delivered()) == 1
