"""Calls that post events and read them."""

from collections.abc import Sequence
from dataclasses import replace

from services.client import call
from services.client.call import Call
from services.contracts.events import Accepted, AcceptedBatch, NewEvent
from services.contracts.messages import EventTypes, EventWithMessages

_EVENTS = "/api/v1/events"


def send(event: NewEvent, *, key: str | None = None, traceparent: str | None = None) -> Call[Accepted]:
    """Posts an event. The answer comes once it is on disk.

    Args:
        event: the event.
        key: Idempotency-Key; None: a new one, so that retries of this call store the event once.
        traceparent: W3C trace context that the event joins.
    """
    return _traced(call.post(Accepted, _EVENTS, event, key=key or call.new_key()), traceparent)


def send_all(
    events: Sequence[NewEvent], *, key: str | None = None, traceparent: str | None = None
) -> Call[AcceptedBatch]:
    """Posts up to 500 events, which are stored as a whole or not at all."""
    batch = call.post(AcceptedBatch, _EVENTS, list(events), key=key or call.new_key())
    return _traced(batch, traceparent)


def event(event_id: str) -> Call[EventWithMessages]:
    """Reads an event and its messages."""
    return call.get(EventWithMessages, call.path(f"{_EVENTS}/{{}}", event_id))


def event_types(category: str | None = None) -> Call[EventTypes]:
    """Lists the event types, of one category or of all."""
    return call.get(EventTypes, "/api/v1/event-types", {"category": category})


def _traced(posted: call.Call[call.T], traceparent: str | None) -> Call[call.T]:
    if traceparent is None:
        return posted
    return replace(posted, headers={**posted.headers, "traceparent": traceparent})
