"""Events as clients post them: 47 types in ten categories, and every limit of every field."""

import math
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

CUSTOM = "custom_event"

CATEGORIES: dict[str, tuple[str, ...]] = {
    "task": ("task_completion", "task_started", "task_failed", "task_progress", "task_cancelled"),
    "code": (
        "code_generation",
        "code_analysis",
        "code_refactoring",
        "code_review",
        "code_testing",
        "code_deployment",
    ),
    "file": ("file_created", "file_modified", "file_deleted", "directory_created", "directory_deleted"),
    "build": (
        "build_started",
        "build_completed",
        "build_failed",
        "test_suite_run",
        "test_passed",
        "test_failed",
        "lint_check",
        "type_check",
    ),
    "git": (
        "git_commit",
        "git_push",
        "git_merge",
        "git_branch",
        "git_tag",
        "pull_request_created",
        "pull_request_merged",
    ),
    "system": ("system_health", "performance_alert", "security_alert", "error_occurred", "resource_usage"),
    "user": ("approval_request", "user_response", "command_executed"),
    "notification": ("progress_update", "status_change", "alert_notification", "info_notification"),
    "integration": ("api_call", "webhook_received", "service_integration"),
    "custom": (CUSTOM,),
}
CATEGORY_OF = {kind: category for category, kinds in CATEGORIES.items() for kind in kinds}


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


# PostgreSQL keeps no NUL in a text, and nobody means one.
_NO_NUL = r"^[^\x00]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)]
#: What a search looks for, and an id in a path.
Words = Annotated[str, StringConstraints(max_length=200, pattern=_NO_NUL)]
ShortText = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=2**53)]
# Telegram's ids have at most 52 significant bits; groups and channels are below zero.
ChatId = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
BotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Percent = Annotated[float, Field(ge=0, le=100)]


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity, and programs no larger integers than these; Python reads them all."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("an integer has more than 64 bits")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inner)
    return value


#: Anything that JSON can say.
Details = Annotated[dict[str, Any], AfterValidator(_finite)]


class Strict(BaseModel):
    """A misspelt field is an error that names it, not something silently lost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Action(Strict):
    """A button that an event suggests."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    action: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    data: Details | None = None
    style: Literal["primary", "secondary", "danger"] = "primary"


class EventData(Strict):
    """Details of an event; which of them are shown depends on its type."""

    status: ShortText | None = None
    results: Annotated[str, StringConstraints(max_length=5_000)] | None = None
    exit_code: Annotated[int, Field(ge=-(2**31), le=2**31)] | None = None
    success: bool | None = None
    file_path: Annotated[str, StringConstraints(max_length=4_096)] | None = None
    files_affected: (
        Annotated[list[Annotated[str, StringConstraints(max_length=4_096)]], Field(max_length=50)] | None
    ) = None
    directory: Annotated[str, StringConstraints(max_length=4_096)] | None = None
    line_number: Count | None = None
    language: ShortText | None = None
    function_name: ShortText | None = None
    class_name: ShortText | None = None
    module_name: ShortText | None = None
    code_snippet: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    commit_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{4,64}$")] | None = None
    branch_name: ShortText | None = None
    author: ShortText | None = None
    commit_message: Annotated[str, StringConstraints(max_length=5_000)] | None = None
    files_changed: Count | None = None
    build_target: ShortText | None = None
    test_count: Count | None = None
    tests_passed: Count | None = None
    tests_failed: Count | None = None
    coverage_percentage: Percent | None = None
    duration_ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = None
    memory_usage_mb: Annotated[float, Field(ge=0)] | None = None
    cpu_usage_percent: Annotated[float, Field(ge=0)] | None = None
    disk_usage_mb: Annotated[float, Field(ge=0)] | None = None
    network_bytes: Count | None = None
    error_message: Annotated[str, StringConstraints(max_length=5_000)] | None = None
    error_code: ShortText | None = None
    stack_trace: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    severity: Severity | None = None
    approval_prompt: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    options: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=64)]],
            Field(min_length=1, max_length=10),
        ]
        | None
    ) = None
    user_id: int | str | None = None
    command: Annotated[str, StringConstraints(max_length=5_000)] | None = None
    arguments: Annotated[list[ShortText], Field(max_length=100)] | None = None
    priority: Priority | None = None
    category: ShortText | None = None
    tags: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=20)] | None = (
        None
    )
    url: Annotated[str, StringConstraints(max_length=2_048, pattern=r"^(https?|tg)://\S+$")] | None = None
    actions: Annotated[list[Action], Field(max_length=10)] | None = None
    service_name: ShortText | None = None
    endpoint: ShortText | None = None
    request_id: ShortText | None = None
    response_code: Annotated[int, Field(ge=0, le=999)] | None = None
    current: Count | None = None
    total: Count | None = None
    current_value: float | None = None
    threshold: float | None = None
    metadata: Details | None = None

    @model_validator(mode="after")
    def _progress_within_total(self) -> Self:
        if self.current is not None and self.total is not None and self.current > self.total:
            raise ValueError("current is more than total")
        return self


# What a type cannot do without: field of `data` -> types that need it.
_NEEDED: dict[str, frozenset[str]] = {
    "test_count": frozenset({"test_suite_run"}),
    "commit_hash": frozenset({"git_commit"}),
    "commit_message": frozenset({"git_commit"}),
    "error_message": frozenset({"error_occurred"}),
    "approval_prompt": frozenset({"approval_request"}),
}


class NewEvent(Strict):
    """One event, as posted to ``POST /api/v1/events``."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="one of GET /api/v1/event-types; an unknown one is taken as custom_event"
    )
    title: Line
    description: Annotated[str, StringConstraints(max_length=2_000)] = ""
    source: Annotated[str, StringConstraints(max_length=100, pattern=_NO_NUL)] = ""
    task_id: Annotated[str, StringConstraints(max_length=100)] | None = None
    severity: Severity | None = None
    priority: Priority = Priority.NORMAL
    chat_id: ChatId | list[ChatId] | None = Field(
        None, description="one recipient or several; unset: the default ones"
    )
    thread_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    bot: BotName | None = Field(None, description="which bot sends it, by name; unset: the default one")
    silent: bool = False
    deliver_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    on_unknown: Literal["resend", "hold"] = Field(
        "resend", description="what to do when nobody can know whether it arrived"
    )
    correlation_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,128}$")] | None = None
    update_key: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_NO_NUL)] | None = (
        Field(None, description="a later event with the same key edits the earlier message (progress)")
    )
    callback_url: (
        Annotated[str, StringConstraints(min_length=1, max_length=2_048, pattern=_NO_NUL)] | None
    ) = Field(None, description="told how each message ends: message.delivered, message.failed, …, signed")
    campaign_id: Annotated[str, StringConstraints(max_length=100)] | None = None
    use_case: Annotated[str, StringConstraints(max_length=100)] | None = None
    data: EventData = Field(default_factory=EventData)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for field, kinds in _NEEDED.items():
            if self.type in kinds and getattr(self.data, field) in (None, ""):
                raise ValueError(f"data.{field} is needed for a {self.type}")
        if isinstance(self.chat_id, list):
            _check_recipients(self.chat_id)
        if self.deliver_at and self.expires_at and self.expires_at <= self.deliver_at:
            raise ValueError("expires_at is not after deliver_at")
        return self

    @property
    def kind(self) -> str:
        """The type that it is handled as."""
        return self.type if self.type in CATEGORY_OF else CUSTOM


MOST_RECIPIENTS = 100


def _check_recipients(chat_ids: list[int]) -> None:
    if not chat_ids:
        raise ValueError("chat_id is an empty list: leave it out for the default recipients")
    if len(chat_ids) > MOST_RECIPIENTS:
        raise ValueError(f"chat_id has more than {MOST_RECIPIENTS} recipients")
    if len(set(chat_ids)) != len(chat_ids):
        raise ValueError("chat_id names a recipient twice")


class Links(BaseModel):
    event: str
    trace: str | None = Field(description="in Jaeger; null where none is configured")
    approval: str | None = Field(None, description="of an approval_request")


class Accepted(BaseModel):
    """The answer once an event is on disk."""

    event_id: str
    message_ids: list[str]
    correlation_id: str
    trace_id: str
    status: Literal["queued"] = "queued"
    type: str = Field(description="the type that the event is handled as")
    approval_id: str | None = Field(None, description="of an approval_request: the question that it asks")
    links: Links


class AcceptedBatch(BaseModel):
    """The answer to a list of events: all of them are on disk, or none."""

    accepted: list[Accepted]
