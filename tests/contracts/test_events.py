"""Limits of an event's fields: a value at the limit is valid, one beyond it is an error of the field."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from services.contracts.events import CATEGORIES, CATEGORY_OF, CUSTOM, MOST_RECIPIENTS, NewEvent
from services.contracts.fields import DEEPEST_DETAILS, LARGEST_DETAILS

# The types by category: clients rely on these names.
TYPES = {
    "task": "task_completion task_started task_failed task_progress task_cancelled",
    "code": "code_generation code_analysis code_refactoring code_review code_testing code_deployment",
    "file": "file_created file_modified file_deleted directory_created directory_deleted",
    "build": "build_started build_completed build_failed test_suite_run test_passed test_failed lint_check "
    "type_check",
    "git": "git_commit git_push git_merge git_branch git_tag pull_request_created pull_request_merged",
    "system": "system_health performance_alert security_alert error_occurred resource_usage",
    "user": "approval_request user_response command_executed",
    "notification": "progress_update status_change alert_notification info_notification",
    "integration": "api_call webhook_received service_integration",
    "custom": "custom_event",
}
#: Required fields of some types.
REQUIRED: dict[str, dict[str, Any]] = {
    "test_suite_run": {"test_count": 3},
    "git_commit": {"commit_hash": "abc123", "commit_message": "why"},
    "error_occurred": {"error_message": "it broke"},
    "approval_request": {"approval_prompt": "May I?"},
}


#: Texts without a character that a person sees.
BLANKS = [" ", "\n\t", "\u200b", "\u2060 \ufeff", "\x01"]


def nested(levels: int) -> dict[str, Any]:
    """A JSON object with so many levels."""
    return {"a": nested(levels - 1)} if levels > 1 else {}


def posted(data: dict[str, Any] | None = None, **fields: Any) -> NewEvent:
    body = {"type": CUSTOM, "title": "hello"} | fields
    if data is not None:
        body["data"] = data
    return NewEvent.model_validate_json(json.dumps(body))


def faults(data: dict[str, Any] | None = None, **fields: Any) -> list[tuple[str | int, ...]]:
    with pytest.raises(ValidationError) as refused:
        posted(data, **fields)
    return [fault["loc"] for fault in refused.value.errors()]


def test_there_are_47_types_in_ten_categories() -> None:
    assert {name: " ".join(kinds) for name, kinds in CATEGORIES.items()} == TYPES
    assert len(CATEGORY_OF) == 47


@pytest.mark.parametrize("kind", CATEGORY_OF)
def test_every_type_is_handled_as_itself(kind: str) -> None:
    assert posted(REQUIRED.get(kind, {}), type=kind).kind == kind


@pytest.mark.parametrize("kind", ["deployment", "Task_completion", "unknown", "🎉"])
def test_an_unknown_type_is_handled_as_custom_event(kind: str) -> None:
    assert posted(type=kind).kind == CUSTOM


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, data in REQUIRED.items() for field in data]
)
def test_a_missing_required_field_is_named(kind: str, field: str) -> None:
    for empty in ({}, {field: None}, {field: ""} if isinstance(REQUIRED[kind][field], str) else {}):
        data = {name: value for name, value in REQUIRED[kind].items() if name != field} | empty
        assert faults(data, type=kind) == [("data", field)]


def test_every_missing_field_is_named() -> None:
    assert faults({}, type="git_commit", chat_id=[]) == [
        ("data", "commit_hash"),
        ("data", "commit_message"),
        ("chat_id",),
    ]


NEW_YEAR = "2030-01-01T00:00:00Z"
#: Values that pydantic would read as seconds or milliseconds since 1970.
NO_MOMENTS = [1_893_456_000, 1_893_456_000_000, 1.5, "1893456000", True]
UUID = "01a1fd93-7b93-7466-ba5b-6bba60135904"
SEVERITIES, PRIORITIES = ("low", "medium", "high", "critical"), ("low", "normal", "high", "urgent")

#: Field, its largest and smallest valid values, invalid values.
TOP: list[tuple[str, list[Any], list[Any]]] = [
    ("type", ["t", "t" * 64], ["", "t" * 65, None, 5]),
    ("title", ["t", "t" * 200, "\U0001f600" * 200], ["", "t" * 201, None, 5, "a\0b", *BLANKS]),
    ("description", ["", "d" * 2_000], ["d" * 2_001, 5]),
    ("format", ["plain", "markdown", "html"], ["MARKDOWN", "text", "", None]),
    ("source", ["", "s" * 100], ["s" * 101, 5, "a\0b"]),
    ("task_id", [None, "", "t" * 100], ["t" * 101, 5, "a\0b"]),
    ("severity", [None, *SEVERITIES], ["HIGH", "fatal", "", 1]),
    ("priority", [*PRIORITIES], ["URGENT", "medium", "", None]),
    ("thread_id", [None, 1, 2**31 - 1], [0, -1, 2**31, "x", True]),
    ("bot", [None, "default", "a", "x" * 32, "eu-west_1"], ["", "A", "-a", "x" * 33, "a b", 5]),
    ("silent", [True, False], ["perhaps", 7, None]),
    (
        "link_preview",
        [
            None,
            True,
            False,
            "https://a.example/",
            {},
            {"url": "HTTP://a", "size": "large", "above_text": True},
        ],
        ["", "ftp://a", "a.example", 5, [], {"size": "huge"}, {"more": 1}, "http://" + "x" * 2_042],
    ),
    ("protect_content", [True, False], ["perhaps", 7, None]),
    ("reply_to", [None, UUID, UUID.upper()], ["", UUID[1:], 5]),
    ("pin", [True, False], ["perhaps", 7, None]),
    (
        "buttons",
        [
            None,
            [],
            [[{"text": "a" * 64, "url": "https://a.example/"}] * 8],
            [[{"text": "a", "data": "d" * 256, "answer": "x" * 200}]] * 60,
        ],
        [
            [[]],
            [[{"text": "a", "data": "d"}] * 9],
            [[{"text": "a", "data": "d"}] * 8] * 13,
            [[{"text": "a", "url": "https://a.example/" + "x" * 2_000}]] * 5,
            [[{"text": "a"}]],
            [[{"text": "a", "data": "d", "url": "https://a.example"}]],
            [[{"text": "a", "url": "https://a.example", "answer": "no"}]],
            [[{"text": "a", "url": "tg://user?id=1"}]],
            [[{"text": "a" * 65, "data": "d"}]],
            [[{"text": " ", "data": "d"}]],
            [[{"text": "a", "data": "d" * 257}]],
            [[{"text": "a", "data": "d", "answer": "x" * 201}]],
            {},
        ],
    ),
    (
        "deliver_at",
        [None, "2030-01-01T00:00:00Z", "2030-01-01T00:00:00+14:00"],
        ["2030-01-01T00:00:00", "soon", *NO_MOMENTS],
    ),
    ("expires_in", [None, 1, 60.5, "10m", "366d"], [0, -1, "0s", "367d", "soon", True, 1e9]),
    ("expires_at", [None, NEW_YEAR], ["2030-01-01T00:00:00", "never", *NO_MOMENTS]),
    ("timestamp", [None, NEW_YEAR], ["2030-01-01T00:00:00", "then", *NO_MOMENTS]),
    ("parent_event_id", [None, UUID, UUID.upper()], ["", UUID[1:], f"urn:uuid:{UUID}", "x", 5]),
    ("on_unknown", ["resend", "hold"], ["drop", "", None]),
    ("correlation_id", [None, "a", "A-z0.9_:/" * 14], ["", "a" * 129, "a b", "ä", "a\n"]),
    ("update_key", [None, "k", "k" * 128], ["", "k" * 129, 5, "a\0b"]),
    ("dedup_key", [None, "k", "k" * 128], ["", "k" * 129, 5, "a\0b"]),
    ("dedup_window", [None], [0, "soon", "31d", True]),
    ("digest_key", [None, "k", "k" * 128], ["", "k" * 129, 5, "a\0b"]),
    ("digest_window", [None], [0, "soon", "8d", True]),
    (
        "attachments",
        [[], [{"file_id": "a"}], [{"url": "https://a.example/b.png", "kind": "photo", "spoiler": True}]],
        [None, {}, [5], [{}], [{"file_id": "a"}] * 11, [{"file_id": "a", "path": "b"}], [{"file_id": "a\0"}]],
    ),
    ("callback_url", [None, "https://a.example/hook"], ["", "x" * 2_049, "é" * 1_025, 5, "a\0b"]),
    ("campaign_id", [None, "c" * 100], ["c" * 101, 5, "a\0b"]),
    ("use_case", [None, "u" * 100], ["u" * 101, 5, "a\0b"]),
    ("data", [{}], [[], "x", {"unknown_field": 1}]),
]

TEXT_500 = [
    "status",
    "language",
    "function_name",
    "class_name",
    "module_name",
    "branch_name",
    "author",
    "build_target",
    "error_code",
    "category",
    "service_name",
    "endpoint",
    "request_id",
]
COUNTS = [
    "line_number",
    "files_changed",
    "test_count",
    "tests_passed",
    "tests_failed",
    "network_bytes",
    "current",
    "total",
]
TEXT_5000 = ["results", "commit_message", "error_message", "command"]
TEXT_20000 = ["code_snippet", "stack_trace", "approval_prompt"]
AMOUNTS = ["memory_usage_mb", "cpu_usage_percent", "disk_usage_mb"]
DATA: list[tuple[str, list[Any], list[Any]]] = [
    *((name, ["", "x" * 500, None], ["x" * 501, 5]) for name in TEXT_500),
    *((name, [0, 2**53, None], [-1, 2**53 + 1, 1.5, "many", False]) for name in COUNTS),
    *(
        (name, ["", "x" * 5_000], ["x" * 5_001])
        for name in ("results", "commit_message", "error_message", "command")
    ),
    *((name, ["", "x" * 4_096], ["x" * 4_097]) for name in ("file_path", "directory")),
    *((name, ["", "x" * 20_000], ["x" * 20_001]) for name in ("code_snippet", "stack_trace")),
    ("approval_prompt", ["", "x" * 20_000], ["x" * 20_001, "a\0b"]),
    *(
        (name, [0, 0.5, 1e300], [-0.1, "much", 1e301, True])
        for name in ("memory_usage_mb", "cpu_usage_percent", "disk_usage_mb")
    ),
    *(
        (name, [-1.5, 0, 1e300, None], ["much", -1e301, 1e301, True])
        for name in ("current_value", "threshold")
    ),
    ("exit_code", [-(2**31), 0, 2**31], [-(2**31) - 1, 2**31 + 1, "x", True]),
    ("success", [True, False, None], ["perhaps"]),
    ("files_affected", [[], ["x" * 4_096] * 50], [["x"] * 51, ["x" * 4_097], "x", [5]]),
    ("commit_hash", ["abcd", "F" * 64], ["abc", "f" * 65, "ghij", ""]),
    ("coverage_percentage", [0, 99.5, 100], [-0.1, 100.1, True]),
    ("duration_ms", [0, 86_400_000], [-1, 86_400_001, True]),
    ("severity", [*SEVERITIES], ["fatal"]),
    ("priority", [*PRIORITIES], ["fatal"]),
    ("answer", ["option", "text", None], ["both", True]),
    ("max_length", [None], [0, 4_001, 5]),
    ("needed", [1, 100, None], [0, 101, True]),
    ("remind_every", ["30s", "30d", 30, None], ["29s", "31d"]),
    ("remind_times", [None], [0, 101, 5]),
    ("escalate_after", [None], ["4s", "31d", "1h"]),
    ("escalate_to", [None], [[], [0], [1] * 101, [5]]),
    ("options", [["x"], ["x" * 64] * 10, None], [[], ["x"] * 11, ["x" * 65], [""]]),
    (
        "user_id",
        [5, "ada", "", "x" * 200, -(2**63), 2**63 - 1, None],
        [[], {}, "x" * 201, 2**63, -(2**63) - 1, int("9" * 400), True, 1.0],
    ),
    ("arguments", [[], ["x" * 500] * 100], [["x"] * 101, ["x" * 501]]),
    ("tags", [[], ["x" * 64] * 20], [["x"] * 21, ["x" * 65]]),
    (
        "url",
        ["http://a", "https://example.com/?q=1", "tg://user?id=1", "https://a" + "x" * 2_039],
        ["ftp://a", "javascript:alert(1)", "https://a b", "https://a" + "x" * 2_040, "", "x"],
    ),
    (
        "actions",
        [[], [{"text": "x" * 64, "action": "y" * 64, "data": {"n": 1}, "style": "danger"}] * 10],
        [
            [{"text": "x", "action": "y"}] * 11,
            [{"text": "", "action": "y"}],
            [{"text": "x" * 65, "action": "y"}],
            [{"text": "x", "action": "y" * 65}],
            [{"text": "x"}],
            [{"text": "x", "action": "y", "style": "loud"}],
            [{"text": "x", "action": "y", "more": 1}],
        ],
    ),
    ("response_code", [0, 999], [-1, 1_000, True]),
    (
        "metadata",
        [{}, {"any": [{"thing": None}]}, {"a": "x" * (LARGEST_DETAILS - 8)}, nested(DEEPEST_DETAILS)],
        [[], "x", {"a": "x" * (LARGEST_DETAILS - 7)}, nested(DEEPEST_DETAILS + 1), {"a": 2**64}],
    ),
]


def _cases(rows: list[tuple[str, list[Any], list[Any]]], column: int) -> list[Any]:
    return [
        pytest.param(row[0], value, id=f"{row[0]}-{number}")
        for row in rows
        for number, value in enumerate(row[column])
    ]


@pytest.mark.parametrize(("field", "value"), _cases(TOP, 1))
def test_a_field_accepts_values_within_its_limit(field: str, value: Any) -> None:
    assert field in posted(**{field: value}).model_dump()


@pytest.mark.parametrize(("field", "value"), _cases(TOP, 2))
def test_a_field_beyond_its_limit_is_named(field: str, value: Any) -> None:
    assert {place[0] for place in faults(**{field: value})} == {field}


@pytest.mark.parametrize(("field", "value"), _cases(DATA, 1))
def test_a_field_of_data_accepts_values_within_its_limit(field: str, value: Any) -> None:
    assert field in posted({field: value}).data.model_dump()


@pytest.mark.parametrize(("field", "value"), _cases(DATA, 2))
def test_a_field_of_data_beyond_its_limit_is_named(field: str, value: Any) -> None:
    assert {place[:2] for place in faults({field: value})} == {("data", field)}


def test_every_field_has_its_row() -> None:
    assert {row[0] for row in DATA} == set(type(posted().data).model_fields)
    assert {row[0] for row in TOP} | {"chat_id"} == set(NewEvent.model_fields)


@pytest.mark.parametrize(
    "chat_id", [None, 1001, -1_001_000_000_001, 2**53, -(2**53), [1], list(range(1, 101))]
)
def test_one_recipient_or_several(chat_id: Any) -> None:
    assert posted(chat_id=chat_id).chat_id == chat_id


def test_a_number_may_be_a_text_and_a_recipient_a_name() -> None:
    named = posted(chat_id=["1001", "@ops", " Operations "])
    assert named.chat_id == [1001, "@ops", "Operations"]
    assert faults(chat_id=["1001", 1001]) == [("chat_id",)]


@pytest.mark.parametrize(
    "chat_id",
    [
        0,
        [1, 0],
        2**53 + 1,
        "@",
        True,
        1.5,
        [],
        [1, 1],
        list(range(MOST_RECIPIENTS + 1)),
        [None],
        {"id": 1},
    ],
)
def test_invalid_recipients_are_refused(chat_id: Any) -> None:
    assert {place[0] for place in faults(chat_id=chat_id)} == {"chat_id"}


def test_progress_is_within_its_total() -> None:
    assert posted({"current": 3, "total": 3}).data.current == 3
    assert faults({"current": 4, "total": 3}) == [("data", "current")]


def test_an_event_must_expire_after_deliver_at() -> None:
    due = "2030-01-01T00:00:00Z"
    assert posted(deliver_at=due, expires_at="2030-01-01T00:00:01Z").expires_at is not None
    assert faults(deliver_at=due, expires_at=due) == [("expires_at",)]


def test_a_misspelt_field_is_named() -> None:
    assert faults(titel="x") == [("titel",)]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_an_integer_over_64_bits_is_refused(number: int) -> None:
    with pytest.raises(ValidationError):
        NewEvent.model_validate_json(
            f'{{"type":"custom_event","title":"x","data":{{"metadata":{{"a":{number}}}}}}}'
        )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("where", ['{"metadata":{"a":[%s]}}', '{"threshold":%s}', '{"memory_usage_mb":%s}'])
def test_nan_and_infinity_are_refused(number: str, where: str) -> None:
    body = f'{{"type":"custom_event","title":"x","data":{where % number}}}'
    with pytest.raises(ValidationError) as refused:
        NewEvent.model_validate_json(body)
    assert refused.value.errors()[0]["loc"][0] == "data"
