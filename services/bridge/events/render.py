"""Renders an event as plain text and Telegram message entities (ranges of bold text, code, links).

It does not use HTML or Markdown, so Telegram never reads characters of a value as formatting. It does not
read the database or the network.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from services.bridge.events import buttons, send_options
from services.bridge.events.formats import formatted
from services.bridge.events.templates import Templates, worded
from services.contracts.details import EventData
from services.contracts.events import CUSTOM, NewEvent
from services.outbox.messages import Claimed, Rendered, Text
from services.outbox.telegram.media import with_files, with_missing
from services.outbox.telegram.text import Builder, parts_of

log = structlog.get_logger()

_BY_TYPE = {
    "task_completion": "✅",
    "task_started": "🚀",
    "task_failed": "❌",
    "task_progress": "⏳",
    "task_cancelled": "🚫",
    "code_generation": "✨",
    "code_analysis": "🔍",
    "code_refactoring": "♻️",
    "code_review": "👀",
    "code_testing": "🧪",
    "code_deployment": "📦",
    "file_created": "📄",
    "file_modified": "📝",
    "file_deleted": "🗑️",
    "directory_created": "📁",
    "directory_deleted": "🗑️",
    "build_started": "🔨",
    "build_completed": "🏗️",
    "build_failed": "💥",
    "test_suite_run": "🧪",
    "test_passed": "✅",
    "test_failed": "❌",
    "lint_check": "🧹",
    "type_check": "🔠",
    "git_commit": "💾",
    "git_push": "⬆️",
    "git_merge": "🔀",
    "git_branch": "🌿",
    "git_tag": "🏷️",
    "pull_request_created": "📬",
    "pull_request_merged": "🎉",
    "system_health": "💓",
    "performance_alert": "📈",
    "security_alert": "🔒",
    "error_occurred": "🔥",
    "resource_usage": "📊",
    "approval_request": "🙋",
    "user_response": "💬",
    "command_executed": "⌨️",
    "progress_update": "⏳",
    "status_change": "🔄",
    "alert_notification": "🚨",
    "info_notification": "ℹ️",  # noqa: RUF001 - the emoji, on purpose
    "api_call": "🔌",
    "webhook_received": "🪝",
    "service_integration": "🔗",
    "custom_event": "📌",
}

# Short facts, one per line: field, label, and a function that formats the value.
_FACTS: tuple[tuple[str, str, Callable[[object], str]], ...] = (
    ("status", "Status", str),
    ("exit_code", "Exit code", str),
    ("duration_ms", "Duration", lambda value: _duration(int(str(value)))),
    ("branch_name", "Branch", str),
    ("commit_hash", "Commit", lambda value: str(value)[:12]),
    ("author", "Author", str),
    ("files_changed", "Files changed", str),
    ("build_target", "Target", str),
    ("coverage_percentage", "Coverage", lambda value: f"{value:g} %"),
    ("memory_usage_mb", "Memory", lambda value: f"{value:g} MB"),
    ("cpu_usage_percent", "CPU", lambda value: f"{value:g} %"),
    ("disk_usage_mb", "Disk", lambda value: f"{value:g} MB"),
    ("current_value", "Value", lambda value: f"{value:g}"),
    ("threshold", "Threshold", lambda value: f"{value:g}"),
    ("service_name", "Service", str),
    ("endpoint", "Endpoint", str),
    ("response_code", "Response", str),
    ("error_code", "Error code", str),
    ("file_path", "File", str),
    ("directory", "Directory", str),
    ("request_id", "Request", str),
)
# Longer texts, one block each: field, heading, and the language of the block (None: prose).
_BLOCKS: tuple[tuple[str, str, str | None], ...] = (
    ("results", "Results", None),
    ("commit_message", "Message", None),
    ("error_message", "Error", ""),
    ("approval_prompt", "Question", None),
    ("command", "Command", "shell"),
    ("code_snippet", "Code", ""),
    ("stack_trace", "Stack trace", ""),
)
_MOST_FILES = 10


class Posted(Protocol):
    """What a text is made of: a claimed message, or the first one of a repeated event."""

    @property
    def id(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def body(self) -> str: ...


def render(message: Posted, templates: Templates | None = None) -> Rendered:
    """Returns the rendered message.

    A text above Telegram's limit of 4,096 characters has several parts; a much longer one becomes a ``.txt``
    document.

    Args:
        message: a message that a worker has claimed; its body is the posted event as JSON.
        templates: the operator's templates; if none is for the event's type, or it fails, the built-in
            text is used.
    """
    filename = f"{message.event_type}-{message.event_id}.txt"
    # The text of a repeated event replaces that of its first message, whose files stay as they are.
    files = message.files if isinstance(message, Claimed) else ()
    event = _event(message)
    if event is None:
        posted = with_missing(_as_posted(message), files)
        return with_files(Rendered(parts_of(posted, filename)), files)
    text = _with_links(_from_template(message, event, templates) or _built_in(message, event), event)
    keyboard = buttons.keyboard(event.buttons or (), message.id)
    parts = parts_of(with_missing(text, files), filename)
    return with_files(Rendered(parts, keyboard, options=send_options.of(event)), files)


def _event(message: Posted) -> NewEvent | None:
    """The event; None if an earlier version accepted it with wider limits."""
    try:
        return NewEvent.model_validate_json(message.body)
    except ValidationError as error:
        log.warning(
            "event_beyond_limits", message_id=message.id, fields=[one["loc"] for one in error.errors()]
        )
        return None


def _with_links(text: Text, event: NewEvent) -> Text:
    """The text, with the buttons that Telegram does not take as lines below it."""
    out = Builder().add(text)
    for label, url in buttons.as_text(event.buttons or ()):
        out.text(f"\n{label}: {url}")
    return out.build()


def _as_posted(message: Posted) -> Text:
    out = Builder().text(f"{emoji_of(message.event_type)} ").bold(message.title)
    return out.text("\n").pre(message.body, "json").build()


def emoji_of(kind: str) -> str:
    """The emoji of an event type."""
    # A later version may have accepted a type that this one does not know.
    return _BY_TYPE.get(kind, _BY_TYPE[CUSTOM])


def _from_template(message: Posted, event: NewEvent, templates: Templates | None) -> Text | None:
    if templates is None:
        return None
    return worded(templates, message.event_type, template_values(event), message.id)


def template_values(event: NewEvent) -> dict[str, Any]:
    """What a template may use: the fields of the event, and its emoji."""
    return {**event.model_dump(mode="json"), "emoji": emoji_of(event.kind)}


def _built_in(message: Posted, event: NewEvent) -> Text:
    out = Builder().text(f"{emoji_of(message.event_type)} ").bold(event.title)
    if event.description:
        out.text("\n\n").add(formatted(event.description, event.format))
    facts = list(_facts(event.data))
    if facts:
        out.text("\n")
    for label, value in facts:
        out.text(f"\n{label}: ").code(value)
    _blocks(out, event.data)
    if event.data.url:
        out.text("\n\n").link(event.data.url, event.data.url)
    _footer(out, event)
    return out.build()


def _facts(data: EventData) -> Iterator[tuple[str, str]]:
    for field, label, say in _FACTS:
        value = getattr(data, field)
        if value is not None and value != "":
            yield label, say(value)
    if data.test_count is not None or data.tests_passed is not None or data.tests_failed is not None:
        yield "Tests", _tests(data)
    if data.current is not None:
        yield "Progress", f"{data.current} of {data.total}" if data.total is not None else str(data.current)
    if data.files_affected:
        shown = ", ".join(data.files_affected[:_MOST_FILES])
        more = len(data.files_affected) - _MOST_FILES
        yield "Files", f"{shown} and {more} more" if more > 0 else shown


def _tests(data: EventData) -> str:
    parts = [
        f"{number} {word}"
        for number, word in (
            (data.tests_passed, "passed"),
            (data.tests_failed, "failed"),
            (data.test_count, "in all"),
        )
        if number is not None
    ]
    return ", ".join(parts)


def _blocks(out: Builder, data: EventData) -> None:
    for field, heading, language in _BLOCKS:
        value = getattr(data, field)
        if not value:
            continue
        out.text("\n\n").bold(heading).text("\n")
        if language is None:
            out.text(value)
        else:
            out.pre(value, language)


def _footer(out: Builder, event: NewEvent) -> None:
    severity = event.severity or event.data.severity
    parts = [part for part in (event.source, severity.value if severity else "", event.task_id or "") if part]
    tags = [f"#{tag}" for tag in event.data.tags or ()]
    if parts or tags:
        out.text("\n\n").italic(" · ".join([*parts, *tags]))


def _duration(milliseconds: int) -> str:
    """1200 → ``1.2 s``; 3 725 000 → ``1:02:05``."""
    if milliseconds < 1_000:  # noqa: PLR2004 - a second
        return f"{milliseconds} ms"
    if milliseconds < 60_000:  # noqa: PLR2004 - a minute
        return f"{milliseconds / 1000:.1f} s"
    return str(timedelta(seconds=milliseconds // 1000))
