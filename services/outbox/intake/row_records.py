"""Rows of the tables for submitted events, messages and keys, as both dialects store them. Pure."""

from typing import Any

from services.outbox.messages import (
    IN_DIGEST,
    EventRecord,
    IdempotencyKey,
    MessageRecord,
    MessageState,
    is_scheduled,
)


def of_event(e: EventRecord, now: float) -> dict[str, Any]:
    """A row of ``event``; ``now`` is the time just before the commit."""
    return {
        "id": e.id,
        "type": e.type,
        "category": e.category,
        "title": e.title,
        "source": e.source,
        "severity": e.severity,
        "body": e.body,
        "correlation_id": e.correlation_id,
        "client": e.client,
        "traceparent": e.trace.header(),
        "accepted_at": e.accepted_at,
        "written_at": now,
        "callback_url": e.callback_url,
        "origin": e.origin.value,
    }


def of_message(e: EventRecord, m: MessageRecord) -> dict[str, Any]:
    """A row of ``message``, queued."""
    return {
        "id": m.id,
        "event_id": e.id,
        "type": e.type,
        "bot": m.bot,
        "chat_id": m.chat_id,
        "thread_id": m.thread_id,
        "lane": int(m.lane),
        "silent": m.silent,
        "on_unknown": m.on_unknown.value,
        "state": MessageState.QUEUED.value,
        "due_at": IN_DIGEST if m.digest else m.deliver_at,
        "waits_from": m.deliver_at if is_scheduled(m.deliver_at) else None,
        "expires_at": m.expires_at,
        "accepted_at": e.accepted_at,
        "edits": m.edits,
        "update_key": m.update_key,
        "update_client": e.client if m.update_key else None,
        "update_at": m.update_at,
    }


def of_key(key: IdempotencyKey, now: float) -> dict[str, Any]:
    """A row of ``idempotency``."""
    return {
        "client": key.client,
        "key": key.key,
        "body_hash": key.body_hash,
        "answer": key.answer,
        "created_at": now,
    }
