"""A tap or a reply is a span of its own, linked to the message's trace; the verdict is in that trace."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, People, bridge_of
from tests.bridge.updates.test_responses import responded


@dataclass
class Collector:
    """What an OTLP receiver got."""

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
    return await request.read()  # aiohttp has taken a gzip off already


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    got = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", got.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    got.url = f"http://{host}:{port}"
    yield got
    await runner.cleanup()


def attributes(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


async def test_a_tap_is_linked_to_the_trace_of_the_question_and_the_verdict_is_in_it(
    settings: BridgeSettings, people: People, collector: Collector
) -> None:
    traced = settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    async with bridge_of(traced) as bridge:
        asked = await bridge.ask(correlation_id="run-10")
        await people.tap(await people.question(ADA), "Approve")
        decided = await bridge.until_status(asked["id"], "decided")
        verdict = next(message for message in decided["messages"] if message["kind"] == "verdict")
        await bridge.until_message(verdict["message_id"], "delivered")
    (tap,) = collector.named("tap")
    assert [link.trace_id.hex() for link in tap.links] == [asked["trace_id"]]
    assert tap.trace_id.hex() != asked["trace_id"]
    said = attributes(tap)
    assert said["cctelegram.correlation_id"] == "run-10"
    assert said["cctelegram.approval_id"] == asked["id"]
    assert said["cctelegram.outcome"] == "decided"
    assert str(ADA) not in said.values()
    sends = [span for span in collector.named("send") if span.trace_id.hex() == asked["trace_id"]]
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
