"""The field `data` of an event: its fields and their limits."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from services.contracts.fields import (
    Count,
    Details,
    Flag,
    NoBool,
    Number,
    Percent,
    Priority,
    Severity,
    ShortText,
    Strict,
    about,
    storable,
)
from services.contracts.questions import (
    ANSWER_HELP,
    ESCALATE_AFTER_HELP,
    ESCALATE_TO_HELP,
    MAX_LENGTH_HELP,
    NEEDED_HELP,
    REMIND_EVERY_HELP,
    REMIND_TIMES_HELP,
    AnswerKind,
    EscalationDelay,
    People,
    PeopleNeeded,
    ReminderCount,
    ReminderInterval,
    TextLength,
    contradiction,
)
from services.kit.field_errors import ErrorText

LONGEST_PERSON = 200
_OF_QUESTIONS = frozenset(
    (
        *("answer", "max_length", "needed", "options"),
        *("remind_every", "remind_times", "escalate_after", "escalate_to"),
    )
)
_LOW, _HIGH = -(2**63), 2**63 - 1


def _person(value: object) -> object:
    """One check for both kinds, so that the error names the field and not a kind."""
    if isinstance(value, str) and len(value) <= LONGEST_PERSON:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and _LOW <= value <= _HIGH:
        return value
    raise ValueError(f"write a text of up to {LONGEST_PERSON} characters, or an integer of 64 bits")


Person = Annotated[
    int | str,
    PlainValidator(_person),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": _LOW, "maximum": _HIGH},
                {"type": "string", "maxLength": LONGEST_PERSON},
            ]
        }
    ),
]
Path = Annotated[str, StringConstraints(max_length=4_096)]
Text = Annotated[str, StringConstraints(max_length=5_000)]
LongText = Annotated[str, StringConstraints(max_length=20_000)]
Amount = Annotated[float, Field(ge=0, le=1e300), NoBool]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Style = Literal["primary", "secondary", "danger"]
Tag = Annotated[str, StringConstraints(max_length=64)]


class Action(Strict):
    """A suggested action. It is stored with the event, and templates can show it."""

    text: Annotated[Label, about("name of the action", "Open the log")]
    action: Annotated[Label, about("identifier for programs", "open_log")]
    data: Annotated[Details | None, about("parameters of the action", {"run": 7})] = None
    style: Annotated[Style, about("how it is emphasised", "primary")] = "primary"


class EventData(Strict):
    """Details of an event, all optional; some types require one."""

    status: Annotated[ShortText | None, about("status in one word", "passed")] = None
    results: Annotated[Text | None, about("results in a few lines", "214 passed, 0 failed")] = None
    exit_code: Annotated[
        Annotated[int, Field(ge=-(2**31), le=2**31), NoBool] | None, about("exit code of the process", 0)
    ] = None
    success: Annotated[Flag | None, about("whether it succeeded", True)] = None
    file_path: Annotated[Path | None, about("file that the event is about", "src/shop/cart.py")] = None
    files_affected: Annotated[
        Annotated[list[Path], Field(max_length=50)] | None,
        about("changed files; the first ten are shown", ["src/shop/cart.py"]),
    ] = None
    directory: Annotated[Path | None, about("folder that the event is about", "src/shop")] = None
    line_number: Annotated[Count | None, about("line in `file_path`", 42)] = None
    language: Annotated[ShortText | None, about("language of the code", "python")] = None
    function_name: Annotated[ShortText | None, about("function that the event is about", "total")] = None
    class_name: Annotated[ShortText | None, about("class that the event is about", "Cart")] = None
    module_name: Annotated[ShortText | None, about("module that the event is about", "shop.cart")] = None
    code_snippet: Annotated[LongText | None, about("code, shown in a code block", "return sum(prices)")] = (
        None
    )
    commit_hash: Annotated[
        Annotated[
            str,
            StringConstraints(pattern=r"^[0-9a-fA-F]{4,64}$"),
            ErrorText("write 4 to 64 hexadecimal digits"),
        ]
        | None,
        about("hexadecimal hash; twelve digits are shown; required for git_commit", "9fceb02d0ae5"),
    ] = None
    branch_name: Annotated[ShortText | None, about("branch of the repository", "main")] = None
    author: Annotated[ShortText | None, about("author of the change", "Ada")] = None
    commit_message: Annotated[
        Text | None, about("commit message; required for git_commit", "Round prices once, at the end")
    ] = None
    files_changed: Annotated[Count | None, about("number of changed files", 3)] = None
    build_target: Annotated[ShortText | None, about("target of the build", "linux/amd64")] = None
    test_count: Annotated[Count | None, about("number of tests; required for test_suite_run", 214)] = None
    tests_passed: Annotated[Count | None, about("number of passed tests", 214)] = None
    tests_failed: Annotated[Count | None, about("number of failed tests", 0)] = None
    coverage_percentage: Annotated[Percent | None, about("test coverage in percent", 91.5)] = None
    duration_ms: Annotated[
        Annotated[int, Field(ge=0, le=86_400_000), NoBool] | None,
        about("duration in milliseconds, up to a day", 1_200),
    ] = None
    memory_usage_mb: Annotated[Amount | None, about("memory in use, megabytes", 128.0)] = None
    cpu_usage_percent: Annotated[
        Amount | None, about("CPU in percent of one core; four busy cores are 400", 12.5)
    ] = None
    disk_usage_mb: Annotated[Amount | None, about("disk space in use, megabytes", 2_048.0)] = None
    network_bytes: Annotated[Count | None, about("bytes sent and received", 65_536)] = None
    error_message: Annotated[
        Text | None, about("error message; required for error_occurred", "connection refused")
    ] = None
    error_code: Annotated[ShortText | None, about("error code of the program", "ECONNREFUSED")] = None
    stack_trace: Annotated[
        LongText | None, about("stack trace, shown in a code block", "cart.py:42 in total")
    ] = None
    severity: Annotated[Severity | None, about("severity, used if the event itself has none", "medium")] = (
        None
    )
    approval_prompt: Annotated[
        Annotated[str, storable(20_000)] | None,
        about("question, shown unchanged; required for approval_request", "Deploy 2.1?"),
    ] = None
    options: Annotated[
        Annotated[list[Label], Field(min_length=1, max_length=10)] | None,
        about("buttons of an approval_request; default: Approve and Deny", ["Deploy", "Wait", "Stop"]),
    ] = None
    answer: Annotated[AnswerKind | None, about(f"of an approval_request: {ANSWER_HELP}", "text")] = None
    max_length: Annotated[TextLength | None, about(f"of an approval_request: {MAX_LENGTH_HELP}", 200)] = None
    needed: Annotated[PeopleNeeded | None, about(f"of an approval_request: {NEEDED_HELP}", 2)] = None
    remind_every: Annotated[
        ReminderInterval | None, about(f"of an approval_request: {REMIND_EVERY_HELP}", "10m")
    ] = None
    remind_times: Annotated[
        ReminderCount | None, about(f"of an approval_request: {REMIND_TIMES_HELP}; default: 3", 3)
    ] = None
    escalate_after: Annotated[
        EscalationDelay | None, about(f"of an approval_request: {ESCALATE_AFTER_HELP}", "30m")
    ] = None
    escalate_to: Annotated[People | None, about(f"of an approval_request: {ESCALATE_TO_HELP}", [1001])] = None
    user_id: Annotated[Person | None, about("person that the event is about", "ada")] = None
    command: Annotated[Text | None, about("command that ran, shown in a code block", "make test")] = None
    arguments: Annotated[
        Annotated[list[ShortText], Field(max_length=100)] | None,
        about("arguments of the command", ["-n", "4"]),
    ] = None
    priority: Annotated[
        Priority | None,
        about("stored with the event; the lane follows the event's own `priority`", "normal"),
    ] = None
    category: Annotated[
        ShortText | None, about("free text; routes match the category of the type instead", "ci")
    ] = None
    tags: Annotated[
        Annotated[list[Tag], Field(max_length=20)] | None, about("tags, shown with a #", ["nightly"])
    ] = None
    url: Annotated[
        Annotated[
            str,
            StringConstraints(max_length=2_048, pattern=r"^(https?|tg)://\S+$"),
            ErrorText("write a URL of up to 2048 characters that begins with https://, http:// or tg://"),
        ]
        | None,
        about("URL with details, a link if Telegram makes one of it", "https://ci.example/runs/7"),
    ] = None
    actions: Annotated[Annotated[list[Action], Field(max_length=10)] | None, about("suggested actions")] = (
        None
    )
    service_name: Annotated[ShortText | None, about("service that the event is about", "checkout")] = None
    endpoint: Annotated[ShortText | None, about("endpoint that was called", "/api/v1/orders")] = None
    request_id: Annotated[ShortText | None, about("ID of that request", "req-7f3a")] = None
    response_code: Annotated[
        Annotated[int, Field(ge=0, le=999), NoBool] | None, about("HTTP status of the response", 502)
    ] = None
    current: Annotated[Count | None, about("progress so far, at most `total`", 3)] = None
    total: Annotated[Count | None, about("progress when done", 10)] = None
    current_value: Annotated[Number | None, about("measured value", 2.4)] = None
    threshold: Annotated[Number | None, about("limit that the value should not exceed", 2.0)] = None
    metadata: Annotated[
        Details | None, about("any JSON object; routes match its `project`", {"project": "shop"})
    ] = None

    @model_validator(mode="after")
    def _progress_within_total(self) -> Self:
        if self.current is not None and self.total is not None and self.current > self.total:
            raise validation_error("EventData", {("current",): "current is more than total"})
        return self

    @model_validator(mode="after")
    def _consistent_question(self) -> Self:
        given = {name: getattr(self, name) for name in self.model_fields_set & _OF_QUESTIONS}
        wrong = contradiction({name: value for name, value in given.items() if value is not None})
        if wrong is not None:
            raise validation_error("EventData", {(wrong[0],): wrong[1]})
        return self


def validation_error(title: str, found: dict[tuple[str, ...], str]) -> ValidationError:
    """Returns the error of a validator that checks several fields: one entry for each field in `found`."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{text}", {"text": text}), loc=loc, input=None
        )
        for loc, text in found.items()
    ]
    return ValidationError.from_exception_data(title, details)
