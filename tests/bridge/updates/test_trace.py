"""A tap or a reply is a span in a trace of its own, linked to the trace of the message that it answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.bridge.settings import BridgeSettings
from services.outbox.tracing import tail_sampling
from tests.bridge.people import ADA, People, bridge_of
from tests.bridge.updates.test_responses import responded
from tests.servers import serving


@dataclass
class Collector:
    """The spans that an OTLP receiver got."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        posted = ExportTraceServiceRequest.FromString(await _plain(request))
        self.spans += [
            span for of in posted.resource_spans for scope in of.scope_spans for span in scope.spans
        ]
        return web.Response(body=b"", content_type="application/x-protobuf")

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


async def _plain(request: web.Request) -> bytes:
    return await request.read()  # aiohttp has decompressed it already


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    got = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", got.take)
    async with serving(app) as got.url:
        yield got


def attributes(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


async def test_a_tap_is_linked_to_the_trace_of_the_approval_which_has_the_verdict(
    settings: BridgeSettings, people: People, collector: Collector
) -> None:
    traced = settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    async with bridge_of(traced) as bridge:
        approval = await bridge.ask(correlation_id="run-10")
        await people.tap(await people.question(ADA), "Approve")
        decided = await bridge.until_status(approval["id"], "decided")
        verdict = next(message for message in decided["messages"] if message["kind"] == "verdict")
        await bridge.until_message(verdict["message_id"], "delivered")
    (tap,) = collector.named("tap")
    assert [link.trace_id.hex() for link in tap.links] == [approval["trace_id"]]
    assert tap.trace_id.hex() != approval["trace_id"]
    found = attributes(tap)
    assert found["cctelegram.correlation_id"] == "run-10"
    assert found["cctelegram.approval_id"] == approval["id"]
    assert found["cctelegram.outcome"] == "decided"
    assert str(ADA) not in found.values()
    sends = [span for span in collector.named("send") if span.trace_id.hex() == approval["trace_id"]]
    assert {attributes(span)["cctelegram.event_type"] for span in sends} == {
        "approval_request",
        "user_response",
    }


async def test_a_reply_is_linked_to_the_trace_of_the_message_it_answers(
    settings: BridgeSettings, people: People, collector: Collector
) -> None:
    traced = settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    async with bridge_of(traced) as bridge:
        posted = await bridge.post(title="Deploy failed")
        shown = await people.until_text(ADA, "Deploy failed")
        await bridge.until_message(posted["message_ids"][0], "delivered")
        await people.say(ADA, "roll back", reply_to=shown["message_id"])
        (response,) = await responded(bridge, 1)
    (reply,) = collector.named("reply")
    assert [link.trace_id.hex() for link in reply.links] == [posted["trace_id"]]
    assert reply.trace_id.hex() == response["trace_id"]
    assert attributes(reply)["cctelegram.message_id"] == posted["message_ids"][0]


async def answered(traced: BridgeSettings, people: People, **headers: str) -> dict[str, Any]:
    """Posts an event and replies to its message; returns the response to the post."""
    async with bridge_of(traced) as bridge:
        event = {"type": "custom_event", "title": "Deploy failed", "chat_id": ADA}
        posted: dict[str, Any] = (await bridge.client.post("/events", json=event, headers=headers)).json()
        shown = await people.until_text(ADA, "Deploy failed")
        await bridge.until_message(posted["message_ids"][0], "delivered")
        await people.say(ADA, "roll back", reply_to=shown["message_id"])
        await responded(bridge, 1)
    return posted


async def test_without_sampling_the_reply_to_a_fast_message_is_not_exported(
    settings: BridgeSettings, people: People, collector: Collector
) -> None:
    await answered(unsampled(settings, collector), people)
    assert collector.named("reply") == []


async def test_the_reply_to_a_slow_message_is_exported_with_its_trace(
    settings: BridgeSettings, people: People, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_sampling, "SLOW_SECONDS", 0.0)
    posted = await answered(unsampled(settings, collector), people)
    (reply,) = collector.named("reply")
    assert [link.trace_id.hex() for link in reply.links] == [posted["trace_id"]]
    (sent,) = [span for span in collector.named("send") if span.trace_id.hex() == posted["trace_id"]]
    assert attributes(sent)["cctelegram.message_id"] == attributes(reply)["cctelegram.message_id"]


async def test_the_reply_to_a_message_whose_trace_the_caller_sampled_is_exported(
    settings: BridgeSettings, people: People, collector: Collector
) -> None:
    caller = f"00-{'a' * 32}-{'b' * 16}-01"
    posted = await answered(unsampled(settings, collector), people, traceparent=caller)
    (reply,) = collector.named("reply")
    assert [link.trace_id.hex() for link in reply.links] == [posted["trace_id"]] == ["a" * 32]


def unsampled(settings: BridgeSettings, collector: Collector) -> BridgeSettings:
    return settings.model_copy(
        update={"otel_exporter_otlp_endpoint": collector.url, "otel_traces_sampler_arg": 0.0}
    )
