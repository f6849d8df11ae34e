"""Stores the events of a request: what all ways in share after they know the caller and have the events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from starlette.responses import Response

from services.bridge.approvals import from_event
from services.bridge.events import accept, addressed, attachments
from services.bridge.events.accept import AcceptedRequest, Caller
from services.bridge.keys.authenticate import AdmittedRequest
from services.bridge.state import BridgeState
from services.kit import logs
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext
from services.kit.web.fast_route import FastResponse
from services.outbox.intake.single_use import RepeatedError


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request whose events are on disk.

    Args:
        answer: the response body of ``POST /events``, JSON.
        replayed: whether it is the answer to an earlier request with the same Idempotency-Key.
        trace: the span of this request.
    """

    answer: bytes
    replayed: bool
    trace: TraceContext

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers of the response; names in lower case."""
        if self.replayed:
            return {b"idempotent-replayed": b"true"}
        return {b"traceresponse": self.trace.header().encode()}

    def response(self) -> Response:
        return FastResponse(self.answer, 202, self.headers)


def caller_of(headers: Mapping[bytes, bytes], entry: AdmittedRequest) -> Caller:
    """The caller of an admitted request.

    Args:
        headers: of the request; Starlette's Headers scan the whole list for each name.
        entry: its key and its signature.
    """
    parent, key = headers.get(b"traceparent"), headers.get(b"idempotency-key")
    return Caller(
        client=entry.key.name,
        parent=TraceContext.parse(parent.decode("latin-1")) if parent else None,
        correlation_id=logs.correlation_id.get(),
        idempotency_key=None if key is None else key.decode("latin-1"),
        once=entry.once,
    )


async def store(state: BridgeState, body: bytes, caller: Caller) -> StoredRequest:
    """Checks events and stores them; returns once they are on disk.

    Args:
        state: of the bridge.
        body: one event or a list of events, JSON.
        caller: of the request.

    Raises:
        Problem: the events are invalid (422), repeated (409, 422), or could not be stored (503), also since
            Telegram was not reached to look up a chat.
    """
    trace = caller.parent.child() if caller.parent else state.telemetry.new_trace()
    try:
        reading = await _understood(state, body, caller, trace)
        receipt = await state.outbox.enqueue(reading.submission)
    except RepeatedError:
        raise state.authenticator.replayed() from None
    if receipt.replayed is not None:
        return StoredRequest(receipt.replayed.encode(), replayed=True, trace=trace)
    if receipt.answer is not None:
        state.tracking.metrics.deduplicated.inc(receipt.repeats)
        return StoredRequest(receipt.answer.encode(), replayed=False, trace=trace)
    if reading.codes:
        state.inbound.publisher.created_by_events(len(reading.codes))
    return StoredRequest(reading.answer, replayed=False, trace=trace)


async def _understood(
    state: BridgeState, body: bytes, caller: Caller, trace: TraceContext
) -> AcceptedRequest:
    """The accepted request. A repeated one gets its first answer, even if it would be refused by now."""
    try:
        read = await _addressed(state, body, caller, trace)
        reading = await attachments.checked_request(read(), state.files)
    except Problem:
        key = accept.idempotency_key(caller, body)
        earlier = await state.outbox.intake.earlier(key) if key else None
        if earlier is None:
            raise
        return accept.repetition(caller, earlier)
    while reading.codes and await from_event.codes_taken(state.outbox.database, reading.codes):
        reading = await attachments.checked_request(read(), state.files)
    return reading


async def _addressed(
    state: BridgeState, body: bytes, caller: Caller, trace: TraceContext
) -> Callable[[], AcceptedRequest]:
    """Finds the chats that the request names; returns what checks it and makes its messages."""
    request = addressed.address(body, state.active_routes.routes)
    found = await state.chats.find(request.named) if request.named else {}
    return partial(
        accept.accept,
        request,
        caller,
        trace,
        now=state.clock.time(),
        trace_url=state.settings.jaeger_ui_url,
        asks=await state.asks.in_zones(state.outbox.database, request, found),
        chats=found,
        refusal=state.inbound.destinations.refusal,
        dedup_window=state.settings.dedup_window_seconds,
    )
