"""Sampling below 100 %: over the wire, a failed message's whole trace arrives, a quick one's does not."""

from typing import Any

import httpx
import pytest

from services.bridge import app as bridge_app
from services.outbox.tracing import tail_sampling
from services.outbox.tracing.message_spans import chat_hash
from tests.bridge.tracking.conftest import ADA
from tests.conftest import BridgeFactory
from tests.servers import Sandbox, client_of, until
from tests.services.otlp import Receiver, Span, receiver

WHOLE = ["accept", "enqueue", "pace", "queue", "send", "settle"]


async def posted(
    client: httpx.AsyncClient, state: str, traceparent: str = "", **fields: Any
) -> dict[str, Any]:
    """Posts an event and waits until its message is in a state; the answer to the post."""
    event = {"type": "custom_event", "title": "hello", "chat_id": ADA} | fields
    headers = {"traceparent": traceparent} if traceparent else {}
    posting = await client.post("/api/v1/events", json=event, headers=headers)
    answer: dict[str, Any] = posting.json()
    await in_state(client, answer, state)
    return answer


async def in_state(client: httpx.AsyncClient, answer: dict[str, Any], state: str) -> None:
    async def there() -> bool:
        life = (await client.get(f"/api/v1/messages/{answer['message_ids'][0]}")).json()
        return bool(life["status"] == state)

    await until(there)


def of_message(received: Receiver, answer: dict[str, Any]) -> list[Span]:
    return [span for span in received.trace(answer["trace_id"]) if "http.method" not in span.attributes]


async def test_of_unsampled_traces_those_of_failures_arrive_whole(
    bridge_settings: BridgeFactory, sandbox: Sandbox, database_url: str
) -> None:
    with receiver() as (received, endpoint):
        settings = bridge_settings(
            database_url=database_url, otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=0
        )
        async with client_of(bridge_app.create_app, settings) as client:
            quick = await posted(client, "delivered")
            await sandbox.faults(
                {"kind": "answer", "status": 400, "description": "Bad Request: message is too long"}
            )
            failed = await posted(client, "dead_letter", correlation_id="run-1")
    assert of_message(received, quick) == []
    spans = of_message(received, failed)
    assert sorted(span.name for span in spans) == WHOLE
    root = next(span for span in spans if span.name == "accept")
    assert {span.parent_id for span in spans if span is not root} == {root.span_id}
    assert root.attributes["cctelegram.commit_measured"] is True
    send = next(span for span in spans if span.name == "send")
    assert send.error.startswith("too_long")
    for wanted in (
        ("cctelegram.message_id", failed["message_ids"][0]),
        ("cctelegram.correlation_id", "run-1"),
        ("cctelegram.event_type", "custom_event"),
        ("cctelegram.chat_hash", chat_hash(ADA)),
    ):
        assert wanted in send.attributes.items()


async def test_a_slow_delivery_arrives_with_the_attempts_that_made_it_slow(
    bridge_settings: BridgeFactory, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_sampling, "SLOW_SECONDS", 0.02)
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=0)
        async with client_of(bridge_app.create_app, settings) as client:
            await sandbox.faults({"kind": "answer", "status": 429, "parameters": {"retry_after": 1}})
            slow = await posted(client, "delivered")
    spans = of_message(received, slow)
    assert [span.name for span in spans].count("send") == 2
    reasons = sorted(span.attributes["cctelegram.reason"] for span in spans if span.name == "send")
    assert reasons == ["flood_control", "none"]


async def test_a_failure_arrives_though_its_caller_does_not_sample(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    """Where we would sample everything: the caller's word holds for what is quick."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with receiver() as (received, endpoint):
        settings = bridge_settings(otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=1)
        async with client_of(bridge_app.create_app, settings) as client:
            caller = f"00-{'1' * 32}-b7ad6b7169203331-00"
            quick = await posted(client, "delivered", caller)
            await sandbox.faults(
                {"kind": "answer", "status": 400, "description": "Bad Request: message is too long"}
            )
            failed = await posted(client, "dead_letter", f"00-{trace_id}-b7ad6b7169203331-00")
    assert of_message(received, quick) == []
    assert failed["trace_id"] == trace_id
    spans = of_message(received, failed)
    assert sorted(span.name for span in spans) == WHOLE
    # Nobody has the caller's span: the trace begins with ours.
    assert [span.name for span in spans if not span.parent_id] == ["accept"]


async def test_what_was_slow_for_a_restart_arrives_whole_from_the_process_that_ended_it(
    bridge_settings: BridgeFactory, sandbox: Sandbox, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_sampling, "SLOW_SECONDS", 0.02)
    with receiver() as (received, endpoint):
        settings = bridge_settings(
            database_url=database_url, otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=0
        )
        await sandbox.faults({"kind": "answer", "status": 429, "parameters": {"retry_after": 1}})
        async with client_of(bridge_app.create_app, settings) as client:
            slow = await posted(client, "retry_wait", correlation_id="run-1")
        assert of_message(received, slow) == []
        async with client_of(bridge_app.create_app, settings) as client:
            await in_state(client, slow, "delivered")
    spans = of_message(received, slow)
    assert sorted(span.name for span in spans) == sorted([*WHOLE, "pace", "queue", "send", "settle"])
    (root,) = [span for span in spans if span.name == "accept"]
    # Who took it in is gone, and with it the moment in which the commit was over.
    assert root.attributes["cctelegram.commit_measured"] is False
    named = {span.attributes["cctelegram.message_id"] for span in spans if span.name != "enqueue"}
    assert named == {slow["message_ids"][0]}
