"""Events as clients post them: the types by category, the fields with their limits, and the answer."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from services.contracts.buttons import Buttons
from services.contracts.details import EventData, validation_error
from services.contracts.fields import (
    A_TIME,
    A_TRACE,
    AN_ID,
    BotName,
    ChatReference,
    CorrelationId,
    Flag,
    Format,
    Line,
    Moment,
    Preview,
    Priority,
    Severity,
    Strict,
    ThreadId,
    Url,
    about,
    is_blank,
    storable,
)
from services.contracts.files import MOST_ATTACHMENTS, Attachment
from services.contracts.times import LONGEST_SECONDS, When, lifetime
from services.kit.field_errors import ErrorText

CUSTOM = "custom_event"
UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

Category = Literal[
    "task", "code", "file", "build", "git", "system", "user", "notification", "integration", "custom"
]
CATEGORIES: dict[Category, tuple[str, ...]] = {
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
CATEGORY_OF: dict[str, str] = {kind: category for category, kinds in CATEGORIES.items() for kind in kinds}

# Required fields: field of `data` -> types that require it.
_REQUIRED: dict[str, frozenset[str]] = {
    "test_count": frozenset({"test_suite_run"}),
    "commit_hash": frozenset({"git_commit"}),
    "commit_message": frozenset({"git_commit"}),
    "error_message": frozenset({"error_occurred"}),
    "approval_prompt": frozenset({"approval_request"}),
}
_TYPES_WITH_REQUIRED_FIELDS = frozenset[str]().union(*_REQUIRED.values())
MOST_RECIPIENTS = 100
LONGEST_DEDUP_SECONDS = 30 * 86_400.0
#: Of a digest: the default window, and the longest one.
DIGEST_SECONDS, LONGEST_DIGEST_SECONDS = 900.0, 7 * 86_400.0
#: Fields that an event of a digest cannot have, with the reason.
_NOT_IN_DIGEST = {
    **dict.fromkeys(("dedup_key", "update_key"), "give digest_key or {field}, not both"),
    "deliver_at": "a digest is delivered at the end of its window: leave {field} out",
    **dict.fromkeys(
        ("attachments", "buttons", "link_preview", "pin", "protect_content", "reply_to"),
        "a digest shows titles alone: leave {field} out, or send the event without digest_key",
    ),
}
# `_recipients` checks the number of chats: its error names the field.
Recipients = Annotated[
    list[ChatReference],
    Field(json_schema_extra={"minItems": 1, "maxItems": MOST_RECIPIENTS, "uniqueItems": True}),
]
ShortName = Annotated[str, storable(100)]
UuidText = Annotated[
    str,
    StringConstraints(pattern=UUID),
    ErrorText("write a UUID such as 01a1fd93-7b93-7466-ba5b-6bba60135904"),
]


class NewEvent(Strict):
    """One event, as posted to ``POST /api/v1/events``."""

    type: Annotated[
        Annotated[str, storable(64, 1)],
        about("one of GET /api/v1/event-types; an unknown type becomes custom_event", "task_completion"),
    ]
    title: Annotated[Line, about("first line of the message, in bold", "Build finished")]
    description: Annotated[
        Annotated[str, StringConstraints(max_length=2_000)], about("text below the title", "All tests pass")
    ] = ""
    format: Annotated[
        Format,
        about("how `description` is read; what its format cannot read is shown as written", "markdown"),
    ] = Format.PLAIN
    source: Annotated[ShortName, about("name of the program that sends it; routes match it", "ci")] = ""
    task_id: Annotated[ShortName | None, about("ID of a task, shown at the end", "build-7")] = None
    timestamp: Annotated[
        Moment | None,
        about("when it happened: within the last year, not in the future", A_TIME),
    ] = None
    parent_event_id: Annotated[
        UuidText | None,
        about("UUID of the event that it follows; stored with it", AN_ID),
    ] = None
    severity: Annotated[
        Severity | None, about("severity; default: that of `data`, else low; routes match it", "low")
    ] = None
    priority: Annotated[
        Priority, about("lane of its messages; events of severity critical use the urgent lane", "normal")
    ] = Priority.NORMAL
    chat_id: Annotated[
        ChatReference | Recipients | None,
        about(
            "one chat or several, each as its ID, @username, or name in its settings; default: those of the"
            " routes, else the default recipients",
            -1001234567890,
            "@ops_alerts",
        ),
    ] = None
    thread_id: Annotated[ThreadId | None, about("topic of the chat", 7)] = None
    bot: Annotated[
        BotName | None, about("name of the bot that sends it; default: the default bot", "default")
    ] = None
    silent: Annotated[Flag, about("send without a notification sound", False)] = False
    link_preview: Annotated[
        Preview | None,
        about("preview of a link: true, false, a URL, or an object; default: of the first link", False),
    ] = None
    protect_content: Annotated[Flag, about("people cannot forward or save it", False)] = False
    reply_to: Annotated[
        UuidText | None,
        about("ID of an earlier message or event that it answers in the same chat", AN_ID),
    ] = None
    pin: Annotated[Flag, about("pin it in the chat once it is delivered", False)] = False
    buttons: Annotated[
        Buttons | None,
        about(
            "rows of buttons below the message",
            [[{"text": "Open the log", "url": "https://ci.example/7"}, {"text": "Retry", "data": "retry:7"}]],
        ),
    ] = None
    deliver_at: Annotated[
        When | None, about("deliver not before this time, or after this duration; within a year", "30m")
    ] = None
    expires_at: Annotated[
        When | None, about("do not deliver after this time, or duration; the message expires", A_TIME)
    ] = None
    expires_in: Annotated[
        Annotated[float, *lifetime(1.0, LONGEST_SECONDS)] | None,
        about("instead of expires_at: a duration from now, or seconds", "10m"),
    ] = None
    on_unknown: Annotated[
        Literal["resend", "hold"],
        about("what to do if Telegram's answer was lost: send again, or hold", "resend"),
    ] = "resend"
    correlation_id: Annotated[
        CorrelationId | None,
        about("ID to search by; default: the header X-Correlation-ID, else the event's ID", "order-4711"),
    ] = None
    update_key: Annotated[
        Annotated[str, storable(128, 1)] | None,
        about(
            "a later event of the same API key with the same update_key edits the earlier message of the"
            " topic; for progress",
            "build-7",
        ),
    ] = None
    dedup_key: Annotated[
        Annotated[str, storable(128, 1)] | None,
        about(
            "repeats of the same API key with the same dedup_key to the same topics are counted at the first"
            " message for a while, instead of sent",
            "disk-full",
        ),
    ] = None
    dedup_window: Annotated[
        Annotated[float, *lifetime(1.0, LONGEST_DEDUP_SECONDS)] | None,
        about("how long: a duration, or seconds; default: DEDUP_WINDOW_SECONDS", "10m"),
    ] = None
    digest_key: Annotated[
        Annotated[str, storable(128, 1)] | None,
        about(
            "events of the same API key with the same digest_key to the same topic are delivered as one"
            " message at the end of a window; urgent and critical ones at once",
            "ci-nightly",
        ),
    ] = None
    digest_window: Annotated[
        Annotated[float, *lifetime(1.0, LONGEST_DIGEST_SECONDS)] | None,
        about("how long, from the first of them: a duration, or seconds; default: 15m", "15m"),
    ] = None
    callback_url: Annotated[
        Url | None,
        about(
            "gets a signed webhook when each message ends: message.delivered, message.failed, …",
            "https://ci.example/hooks/telegram",
        ),
    ] = None
    campaign_id: Annotated[
        ShortName | None, about("stored with the event; messages can be searched by it", "spring-2026")
    ] = None
    use_case: Annotated[ShortName | None, about("stored with the event", "deployments")] = None
    attachments: Annotated[
        list[Attachment],
        Field(max_length=MOST_ATTACHMENTS),
        about("files that are sent with it, in this order; neighbours of a kind become an album"),
    ] = Field(default_factory=list)
    data: Annotated[EventData, about("details")] = Field(default_factory=EventData)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        found = self._missing() if self.type in _TYPES_WITH_REQUIRED_FIELDS else {}
        if isinstance(self.chat_id, list):
            found |= _recipients(self.chat_id)
        times = (self.deliver_at, self.expires_at)
        # Durations count from the acceptance: these are checked there.
        if isinstance(times[0], datetime) and isinstance(times[1], datetime) and times[1] <= times[0]:
            found["expires_at",] = "expires_at is not after deliver_at"
        if self.dedup_window is not None and self.dedup_key is None:
            found["dedup_window",] = "it needs a dedup_key"
        if self.dedup_key is not None and self.update_key is not None:
            found["dedup_key",] = "give dedup_key or update_key, not both"
        if self.digest_window is not None and self.digest_key is None:
            found["digest_window",] = "it needs a digest_key"
        if self.digest_key is not None:
            found |= {
                (field,): why.format(field=field)
                for field, why in _NOT_IN_DIGEST.items()
                if getattr(self, field)
            }
        if self.expires_in is not None and self.expires_at is not None:
            found["expires_in",] = "give expires_in or expires_at, not both"
        if found:
            raise validation_error("NewEvent", found)
        return self

    def _missing(self) -> dict[tuple[str, ...], str]:
        return {
            ("data", field): f"the type {self.type} needs it"
            for field, kinds in _REQUIRED.items()
            if self.type in kinds and _is_missing(getattr(self.data, field))
        }

    @property
    def kind(self) -> str:
        """The type that it is handled as: ``type``, or ``custom_event`` if that is unknown."""
        return self.type if self.type in CATEGORY_OF else CUSTOM


def _is_missing(value: str | int | None) -> bool:
    return value is None or (isinstance(value, str) and is_blank(value))


def _recipients(chat_ids: list[int | str]) -> dict[tuple[str, ...], str]:
    if not chat_ids:
        return {("chat_id",): "an empty list: leave it out for the default recipients"}
    if len(chat_ids) > MOST_RECIPIENTS:
        return {("chat_id",): f"more than {MOST_RECIPIENTS} recipients"}
    if len(set(chat_ids)) != len(chat_ids):
        return {("chat_id",): "a recipient is named twice"}
    return {}


class Links(BaseModel):
    """URLs of an accepted event."""

    event: Annotated[str, about("the event and its messages", f"/api/v1/events/{AN_ID}")]
    message: Annotated[
        str | None, about("the first message; null if there is none", f"/api/v1/messages/{AN_ID}")
    ] = None
    messages: Annotated[
        list[str] | None, about("all messages, if there are several", [f"/api/v1/messages/{AN_ID}"])
    ] = None
    trace: Annotated[
        str | None,
        about(
            "its trace in Jaeger; null if JAEGER_UI_URL is not set",
            f"http://localhost:16686/trace/{A_TRACE}",
        ),
    ]
    approval: Annotated[
        str | None, about("the question of an approval_request", f"/api/v1/approvals/{AN_ID}")
    ] = None


class Accepted(BaseModel):
    """The answer after an event is on disk; of a repeat, that of the first event."""

    event_id: Annotated[str, about("ID of the event, assigned by the bridge", AN_ID)]
    message_ids: Annotated[list[str], about("ID of one message for each recipient, in their order", [AN_ID])]
    correlation_id: Annotated[str, about("the given correlation ID, or the event's ID", "order-4711")]
    trace_id: Annotated[str, about("trace of the event", A_TRACE)]
    status: Annotated[
        Literal["queued", "deduplicated"],
        about("queued: the event is on disk; deduplicated: it was counted at the first event", "queued"),
    ] = "queued"
    repeats: Annotated[
        int | None, about("of a deduplicated event: how often the first one was repeated by now", 3)
    ] = None
    type: Annotated[str, about("type that the event is handled as", "task_completion")]
    approval_id: Annotated[str | None, about("ID of the question of an approval_request", AN_ID)] = None
    links: Annotated[Links, about("links to related resources")]


class AcceptedBatch(BaseModel):
    """The answer to a list of events: all of them are on disk."""

    accepted: Annotated[list[Accepted], about("one entry for each event, in the order of the list")]
