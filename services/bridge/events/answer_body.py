"""The body of the 202: IDs and links of stored events, and of the first events of repeats. Pure."""

from collections.abc import Mapping, Sequence

import orjson

from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import EventRecord, MessageRecord
from services.outbox.messages.dedup import Repeat


def of_event(
    event: EventRecord,
    recipients: Sequence[MessageRecord],
    trace_url: str,
    approval_id: str | None,
) -> dict[str, object]:
    """The answer for a stored event, with the ID of its question if it is one."""
    trace_id = f"{event.trace.trace_id:032x}"
    links = _links(event.id, [message.id for message in recipients], trace_id, trace_url)
    answer: dict[str, object] = {
        "event_id": event.id,
        "message_ids": [message.id for message in recipients],
        "correlation_id": event.correlation_id,
        "trace_id": trace_id,
        "status": "queued",
        "type": event.type,
        "links": links,
    }
    if approval_id is None:
        return answer
    links["approval"] = f"/api/v1/approvals/{approval_id}"
    return answer | {"approval_id": approval_id}


def written(answers: Sequence[object], *, is_list: bool) -> bytes:
    """The JSON of the answers of a request."""
    return orjson.dumps({"accepted": answers} if is_list else answers[0])


def with_repeats(
    answers: Sequence[dict[str, object]], is_list: bool, trace_url: str, repeats: Mapping[int, Repeat]
) -> str:
    """The answer in which repeats have the IDs and links of their first event."""
    changed = [
        answer if (first := repeats.get(place)) is None else _of_first(first, trace_url)
        for place, answer in enumerate(answers)
    ]
    return written(changed, is_list=is_list).decode()


def _of_first(first: Repeat, trace_url: str) -> dict[str, object]:
    trace = TraceContext.parse(first.traceparent)
    trace_id = f"{trace.trace_id:032x}" if trace else ""
    return {
        "event_id": first.event_id,
        "message_ids": list(first.message_ids),
        "correlation_id": first.correlation_id,
        "trace_id": trace_id,
        "status": "deduplicated",
        "type": first.type,
        "repeats": first.repeats,
        "links": _links(first.event_id, first.message_ids, trace_id, trace_url),
    }


def _links(event_id: str, message_ids: Sequence[str], trace_id: str, trace_url: str) -> dict[str, object]:
    paths = [f"/api/v1/messages/{message_id}" for message_id in message_ids]
    links: dict[str, object] = {
        "event": f"/api/v1/events/{event_id}",
        "message": paths[0] if paths else None,
        "trace": f"{trace_url}/trace/{trace_id}" if trace_url else None,
    }
    return links | ({"messages": paths} if len(paths) > 1 else {})
