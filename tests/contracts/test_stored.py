"""A model of a stored row shows an odd value as none, and keeps the others."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from services.contracts import (
    approvals,
    callbacks,
    chats,
    incidents,
    keys,
    messages,
    responses,
    tracking,
    webhooks,
)
from services.contracts.messages import Message
from services.contracts.stored import from_row, json_of, neutral, number_of
from services.contracts.tracking import Job, JobFilter, Progress

GOOD: dict[str, Any] = {
    "id": "m-1",
    "event_id": "e-1",
    "type": "task_completion",
    "category": "task",
    "title": "Build finished",
    "source": "ci",
    "severity": "low",
    "chat_id": 1001,
    "thread_id": None,
    "bot": "default",
    "status": "delivered",
    "accepted_at": "2026-01-31T08:00:00Z",
    "finished_at": None,
    "next_attempt_at": None,
    "deliver_at": None,
    "quiet_until": None,
    "expires_at": None,
    "possible_duplicate": False,
    "correlation_id": "order-4711",
    "trace_id": None,
    "telegram_message_ids": [42],
    "last_error": None,
    "attempts": 1,
}
ODD: st.SearchStrategy[Any] = (
    st.none()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.binary()
    | st.booleans()
    | st.just([])
)


def test_a_good_row_is_shown_as_it_is() -> None:
    assert from_row(Message, **GOOD) == Message(**GOOD)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), ODD, min_size=1))
def test_whatever_a_row_holds_a_message_is_shown(odd: dict[str, Any]) -> None:
    shown = from_row(Message, **(GOOD | odd))
    for name in GOOD.keys() - odd.keys():
        assert getattr(shown, name) == GOOD[name]
    Message.model_validate_json(shown.model_dump_json())


@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        ({"chat_id": "zz"}, {"chat_id": 0}),
        ({"thread_id": "zz"}, {"thread_id": None}),
        ({"status": "zz"}, {"status": "unknown"}),
        ({"title": None}, {"title": "None"}),
        ({"telegram_message_ids": "1,2"}, {"telegram_message_ids": []}),
        ({"possible_duplicate": "zz"}, {"possible_duplicate": False}),
    ],
)
def test_an_odd_value_is_shown_as_none(odd: dict[str, Any], shown: dict[str, Any]) -> None:
    assert from_row(Message, **(GOOD | odd)) == Message(**(GOOD | shown))


def test_a_model_within_a_model_keeps_its_values() -> None:
    progress = from_row(Progress, total=1, passed="zz", replayed=1)
    chosen = from_row(JobFilter, **dict.fromkeys(JobFilter.model_fields))
    fields = {"id": "j", "kind": "zz", "status": 7, "created_at": "", "created_by": "", "why": None}
    job = from_row(Job, **fields, finished_at=None, filter=chosen, progress=progress, error=None)
    assert (job.kind, job.status, job.progress.total, job.progress.passed) == ("replay", "failed", 1, 0)


#: The models that a service makes of rows.
MODELS: tuple[type[BaseModel], ...] = (
    *(messages.Message, messages.MessageDetail, messages.EventWithMessages, messages.TracedMessage),
    *(messages.StateChange, messages.Attempt, messages.DeadLetter, webhooks.MessageData),
    *(tracking.Job, tracking.JobFilter, tracking.Progress, tracking.TimelineStep),
    *(tracking.StreamChange, tracking.StreamApproval, responses.Response, responses.User),
    *(responses.InReplyTo, approvals.ApprovalView, approvals.QuestionMessage, approvals.Answer),
    *(approvals.Callback, approvals.Decision, callbacks.CallbackView, callbacks.CallView),
    *(keys.KeyView, chats.ChatView, incidents.Incident, incidents.Episode, incidents.TimelineEntry),
    incidents.NotificationMessage,
)


@pytest.mark.parametrize("model", MODELS)
def test_each_field_has_a_neutral_value_that_it_takes(model: type[BaseModel]) -> None:
    values = {
        # A model within a model is made of a row as well.
        name: field.annotation.model_construct()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        else neutral(field.annotation, b"\xff")
        for name, field in model.model_fields.items()
    }
    model.model_validate(values)


@pytest.mark.parametrize(
    ("text", "read"),
    [('{"a":[1]}', {"a": [1]}), ("7", 7), ("zz", None), ("", None), ("null", None), (None, None), (7, None)],
)
def test_what_is_no_json_is_read_as_nothing(text: Any, read: Any) -> None:
    assert json_of(text) == read


class Item(BaseModel):
    metadata: Any


class Page(BaseModel):
    items: list[Item]


@pytest.mark.parametrize("levels", [16, 240, 250, 300, 2_000, 100_000])
def test_json_that_is_read_can_be_written_in_an_answer(levels: int) -> None:
    read = json_of('{"a":' * levels + "1" + "}" * levels)
    assert (read is None) == (levels > 244)
    page = Page(items=[Item(metadata=read)])
    assert orjson.loads(page.model_dump_json())["items"][0]["metadata"] == read


def test_a_number_is_read_as_it_is_and_anything_else_as_zero() -> None:
    stored: list[Any] = [1.5, 7, "7", None, b"7", []]
    assert [number_of(one) for one in stored] == [1.5, 7, 0, 0, 0, 0]
