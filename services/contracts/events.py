"""Events as clients post them: 47 types in ten categories, and every limit of every field."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from services.contracts.details import EventData, faults
from services.contracts.fields import (
    NO_NUL,
    BotName,
    ChatId,
    CorrelationId,
    Line,
    Moment,
    Priority,
    Severity,
    Strict,
    ThreadId,
    about,
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

# What a type cannot do without: field of `data` -> types that need it.
_NEEDED: dict[str, frozenset[str]] = {
    "test_count": frozenset({"test_suite_run"}),
    "commit_hash": frozenset({"git_commit"}),
    "commit_message": frozenset({"git_commit"}),
    "error_message": frozenset({"error_occurred"}),
    "approval_prompt": frozenset({"approval_request"}),
}
_NEED_SOMETHING = frozenset[str]().union(*_NEEDED.values())
MOST_RECIPIENTS = 100
ShortName = Annotated[str, StringConstraints(max_length=100)]
#: Some of the examples of the OpenAPI document.
AN_ID = "01a1fd93-7b93-7466-ba5b-6bba60135904"
A_TRACE = "0af7651916cd43dd8448eb211c80319c"
A_TIME = "2026-01-31T08:00:00Z"


class NewEvent(Strict):
    """One event, as posted to ``POST /api/v1/events``."""

    type: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        about("one of GET /api/v1/event-types; an unknown one is taken as custom_event", "task_completion"),
    ]
    title: Annotated[Line, about("the first line of the message, in bold", "Build finished")]
    description: Annotated[
        Annotated[str, StringConstraints(max_length=2_000)], about("what there is to say", "All tests pass")
    ] = ""
    source: Annotated[
        Annotated[str, StringConstraints(max_length=100, pattern=NO_NUL)],
        about("the program it is from; routes ask for it", "ci"),
    ] = ""
    task_id: Annotated[ShortName | None, about("the task it is about, shown at the end", "build-7")] = None
    timestamp: Annotated[
        Moment | None,
        about("when it happened: within the last year, and not in the future", A_TIME),
    ] = None
    parent_event_id: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
        | None,
        about("the event that it follows, a UUID; kept with it", AN_ID),
    ] = None
    severity: Annotated[
        Severity | None, about("how bad it is; unset: that of `data`, else low. Routes ask for it", "low")
    ] = None
    priority: Annotated[
        Priority, about("who goes first; severity critical goes with the urgent ones", "normal")
    ] = Priority.NORMAL
    chat_id: Annotated[
        ChatId | list[ChatId] | None,
        about("one recipient or several; unset: those of the routes, else the default ones", -1001234567890),
    ] = None
    thread_id: Annotated[ThreadId | None, about("a topic of the chat", 7)] = None
    bot: Annotated[
        BotName | None, about("which bot sends it, by name; unset: the default one", "default")
    ] = None
    silent: Annotated[bool, about("whether it makes no sound", False)] = False
    deliver_at: Annotated[Moment | None, about("not before; within a year", A_TIME)] = None
    expires_at: Annotated[Moment | None, about("not after: it ends as expired then", A_TIME)] = None
    on_unknown: Annotated[
        Literal["resend", "hold"], about("what to do when nobody can know whether it arrived", "resend")
    ] = "resend"
    correlation_id: Annotated[
        CorrelationId | None,
        about("found by it everywhere; unset: X-Correlation-ID, else the event's id", "order-4711"),
    ] = None
    update_key: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_NUL)] | None,
        about("a later event with the same key edits the earlier message (progress)", "build-7"),
    ] = None
    callback_url: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=2_048, pattern=NO_NUL)] | None,
        about(
            "told how each message ends: message.delivered, message.failed, …, signed",
            "https://ci.example/hooks/telegram",
        ),
    ] = None
    campaign_id: Annotated[ShortName | None, about("kept with the event", "spring-2026")] = None
    use_case: Annotated[ShortName | None, about("kept with the event", "deployments")] = None
    data: Annotated[EventData, about("the details")] = Field(default_factory=EventData)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        found = self._missing() if self.type in _NEED_SOMETHING else {}
        if isinstance(self.chat_id, list):
            found |= _recipients(self.chat_id)
        if self.deliver_at and self.expires_at and self.expires_at <= self.deliver_at:
            found["expires_at",] = "expires_at is not after deliver_at"
        if found:
            raise faults("NewEvent", found)
        return self

    def _missing(self) -> dict[tuple[str, ...], str]:
        return {
            ("data", field): f"a {self.type} needs it"
            for field, kinds in _NEEDED.items()
            if self.type in kinds and getattr(self.data, field) in (None, "")
        }

    @property
    def kind(self) -> str:
        """The type that it is handled as."""
        return self.type if self.type in CATEGORY_OF else CUSTOM


def _recipients(chat_ids: list[int]) -> dict[tuple[str, ...], str]:
    if not chat_ids:
        return {("chat_id",): "an empty list: leave it out for the default recipients"}
    if len(chat_ids) > MOST_RECIPIENTS:
        return {("chat_id",): f"more than {MOST_RECIPIENTS} recipients"}
    if len(set(chat_ids)) != len(chat_ids):
        return {("chat_id",): "a recipient is named twice"}
    return {}


class Links(BaseModel):
    """Where there is more."""

    event: Annotated[str, about("the event and its messages", f"/api/v1/events/{AN_ID}")]
    trace: Annotated[
        str | None,
        about("in Jaeger; null where none is configured", f"http://localhost:16686/trace/{A_TRACE}"),
    ]
    approval: Annotated[
        str | None, about("of an approval_request: the question", f"/api/v1/approvals/{AN_ID}")
    ] = None


class Accepted(BaseModel):
    """The answer once an event is on disk."""

    event_id: Annotated[str, about("of the event, made here", AN_ID)]
    message_ids: Annotated[list[str], about("a message a recipient, in their order", [AN_ID])]
    correlation_id: Annotated[str, about("the one that was given, or the event's id", "order-4711")]
    trace_id: Annotated[str, about("of the trace that it is part of", A_TRACE)]
    status: Annotated[Literal["queued"], about("it is on disk", "queued")] = "queued"
    type: Annotated[str, about("the type that the event is handled as", "task_completion")]
    approval_id: Annotated[str | None, about("of an approval_request: the question that it asks", AN_ID)] = (
        None
    )
    links: Annotated[Links, about("where there is more")]


class AcceptedBatch(BaseModel):
    """The answer to a list of events: all of them are on disk, or none."""

    accepted: Annotated[list[Accepted], about("event by event, in the order of the list")]
