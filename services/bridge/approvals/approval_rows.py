"""Rows of the table of approvals: an approval as its columns, and back."""

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from sqlalchemy import Row as SqlRow

from services.bridge.approvals.approval import Actor, AnswerVia, Approval, ApprovalState, Option, Vote
from services.contracts.stored import json_of
from services.kit.telemetry.telemetry import TraceContext

T = TypeVar("T", list[Any], dict[str, Any])


def to_row(a: Approval) -> dict[str, Any]:
    """The columns of a new approval."""
    return {
        "id": a.id,
        "code": a.code,
        "token": a.token,
        "state": a.state.value,
        "title": a.title,
        "prompt": a.prompt,
        "options": orjson.dumps([[option.value, option.label] for option in a.options]).decode(),
        "approvers": orjson.dumps(list(a.approvers)).decode(),
        "needed": a.needed,
        "text_limit": a.text_limit,
        "votes": write_votes(a.votes),
        "bot": a.bot,
        "client": a.client,
        "source": a.source,
        "severity": a.severity,
        "correlation_id": a.correlation_id,
        "event_id": a.event_id,
        "traceparent": a.trace.header(),
        "callback_url": a.callback_url,
        "metadata": None if a.metadata is None else orjson.dumps(a.metadata).decode(),
        "created_at": a.created_at,
        "expires_at": a.expires_at,
    }


def from_row(row: SqlRow[Any]) -> Approval:
    """The approval of a row of its table. Odd values are left out: one row must fail no list and no batch."""
    trace = TraceContext.parse(str(row.traceparent)) or _NO_TRACE
    closed = row.closed_by is not None
    options = read_options(row.options)
    return Approval(
        id=row.id,
        code=row.code,
        token=row.token,
        title=row.title,
        prompt=row.prompt,
        options=options,
        approvers=read_approvers(row.approvers),
        bot=row.bot,
        client=row.client,
        source=row.source,
        severity=row.severity,
        correlation_id=row.correlation_id,
        event_id=row.event_id,
        trace=trace,
        created_at=row.created_at,
        expires_at=row.expires_at,
        callback_url=row.callback_url,
        metadata=None if row.metadata is None else _json(row.metadata, dict),
        state=_STATES.get(row.state, ApprovalState.CANCELLED),
        closed_at=row.closed_at,
        chosen=row.chosen if row.chosen in range(len(options)) else None,
        closed_by=Actor(row.closed_by, row.closed_by_id) if closed else None,
        via=_VIA.get(row.via),
        comment=row.comment,
        undelivered_at=row.undelivered_at,
        needed=row.needed,
        text_limit=row.text_limit,
        answer_text=row.answer_text,
        votes=_read_votes(row.votes),
    )


def read_options(stored: str) -> tuple[Option, ...]:
    """The options of an approval from its column; those that are none are left out."""
    return tuple(
        Option(str(one[0]), str(one[1]))
        for one in _json(stored, list)
        if isinstance(one, list) and len(one) == 2  # noqa: PLR2004 - a value and a label
    )


def read_approvers(stored: str) -> tuple[int, ...]:
    """The approvers of an approval from its column."""
    return tuple(one for one in _json(stored, list) if isinstance(one, int))


def write_votes(votes: Sequence[Vote]) -> str:
    """The column of the votes for the first option."""
    return orjson.dumps(
        [[one.by.user_id, one.by.key, one.by.name, one.via.value, one.at] for one in votes]
    ).decode()


def _read_votes(stored: str) -> tuple[Vote, ...]:
    found = []
    for one in _json(stored, list):
        match one:
            case [int() | None as user_id, str() as key, str() as name, str() as via, int() | float() as at]:
                found.append(Vote(Actor(name, user_id, key), _VIA.get(via, AnswerVia.API), at))
    return tuple(found)


def _json(stored: str, kind: type[T]) -> T:
    """JSON of a column; empty where it is none of this kind."""
    found = json_of(stored)
    return found if isinstance(found, kind) else kind()


_NO_TRACE = TraceContext(0, 0, sampled=False)
_STATES = {state.value: state for state in ApprovalState}
_VIA = {via.value: via for via in AnswerVia}
