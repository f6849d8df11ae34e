"""The details of an event: what `data` may hold, and every limit of every field."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from services.contracts.fields import Count, Details, Percent, Priority, Severity, ShortText, Strict, about

Path = Annotated[str, StringConstraints(max_length=4_096)]
Text = Annotated[str, StringConstraints(max_length=5_000)]
LongText = Annotated[str, StringConstraints(max_length=20_000)]
Amount = Annotated[float, Field(ge=0)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Style = Literal["primary", "secondary", "danger"]
Tag = Annotated[str, StringConstraints(max_length=64)]


class Action(Strict):
    """Something that a reader may want to do next. It is kept with the event; templates can show it."""

    text: Annotated[Label, about("what it is called", "Open the log")]
    action: Annotated[Label, about("what it is, for programs", "open_log")]
    data: Annotated[Details | None, about("what it needs", {"run": 7})] = None
    style: Annotated[
        Literal["primary", "secondary", "danger"], about("how much it stands out", "primary")
    ] = "primary"


class EventData(Strict):
    """Details of an event; which of them are shown depends on its type."""

    status: Annotated[ShortText | None, about("how far it is, in a word", "passed")] = None
    results: Annotated[Text | None, about("what came of it", "214 passed, 0 failed")] = None
    exit_code: Annotated[
        Annotated[int, Field(ge=-(2**31), le=2**31)] | None, about("of the process that ended", 0)
    ] = None
    success: Annotated[bool | None, about("whether it went well", True)] = None
    file_path: Annotated[Path | None, about("the file it is about", "src/shop/cart.py")] = None
    files_affected: Annotated[
        Annotated[list[Path], Field(max_length=50)] | None,
        about("files that changed; ten are shown", ["src/shop/cart.py"]),
    ] = None
    directory: Annotated[Path | None, about("the folder it is about", "src/shop")] = None
    line_number: Annotated[Count | None, about("in `file_path`", 42)] = None
    language: Annotated[ShortText | None, about("of the code", "python")] = None
    function_name: Annotated[ShortText | None, about("the function it is about", "total")] = None
    class_name: Annotated[ShortText | None, about("the class it is about", "Cart")] = None
    module_name: Annotated[ShortText | None, about("the module it is about", "shop.cart")] = None
    code_snippet: Annotated[LongText | None, about("code, shown as such", "return sum(prices)")] = None
    commit_hash: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{4,64}$")] | None,
        about("hexadecimal; twelve digits are shown. A git_commit needs it", "9fceb02d0ae5"),
    ] = None
    branch_name: Annotated[ShortText | None, about("of the repository", "main")] = None
    author: Annotated[ShortText | None, about("who made the change", "Ada")] = None
    commit_message: Annotated[
        Text | None, about("why the change was made. A git_commit needs it", "Round prices once, at the end")
    ] = None
    files_changed: Annotated[Count | None, about("how many", 3)] = None
    build_target: Annotated[ShortText | None, about("what is built", "linux/amd64")] = None
    test_count: Annotated[Count | None, about("tests in all. A test_suite_run needs it", 214)] = None
    tests_passed: Annotated[Count | None, about("tests that passed", 214)] = None
    tests_failed: Annotated[Count | None, about("tests that failed", 0)] = None
    coverage_percentage: Annotated[Percent | None, about("of the code that tests ran", 91.5)] = None
    duration_ms: Annotated[
        Annotated[int, Field(ge=0, le=86_400_000)] | None, about("milliseconds, up to a day", 1_200)
    ] = None
    memory_usage_mb: Annotated[Amount | None, about("megabytes in use", 128.0)] = None
    cpu_usage_percent: Annotated[Amount | None, about("of one core: four busy ones are 400", 12.5)] = None
    disk_usage_mb: Annotated[Amount | None, about("megabytes in use", 2_048.0)] = None
    network_bytes: Annotated[Count | None, about("bytes sent and received", 65_536)] = None
    error_message: Annotated[
        Text | None, about("what went wrong. An error_occurred needs it", "connection refused")
    ] = None
    error_code: Annotated[ShortText | None, about("of the program that failed", "ECONNREFUSED")] = None
    stack_trace: Annotated[LongText | None, about("shown as code", "cart.py:42 in total")] = None
    severity: Annotated[
        Severity | None, about("how bad it is, where the event itself does not say", "medium")
    ] = None
    approval_prompt: Annotated[
        LongText | None, about("what is asked, shown exactly. An approval_request needs it", "Deploy 2.1?")
    ] = None
    options: Annotated[
        Annotated[list[Label], Field(min_length=1, max_length=10)] | None,
        about("the buttons of an approval_request; unset: Approve and Deny", ["Deploy", "Wait", "Stop"]),
    ] = None
    user_id: Annotated[int | str | None, about("the person it is about", "ada")] = None
    command: Annotated[Text | None, about("that was run, shown as code", "make test")] = None
    arguments: Annotated[
        Annotated[list[ShortText], Field(max_length=100)] | None, about("of the command", ["-n", "4"])
    ] = None
    priority: Annotated[
        Priority | None, about("kept with the event; who goes first is said by the event's own", "normal")
    ] = None
    category: Annotated[ShortText | None, about("a word of your own; routes ask for the type's", "ci")] = None
    tags: Annotated[
        Annotated[list[Tag], Field(max_length=20)] | None, about("shown as #tags", ["nightly"])
    ] = None
    url: Annotated[
        Annotated[str, StringConstraints(max_length=2_048, pattern=r"^(https?|tg)://\S+$")] | None,
        about("where there is more, shown as a link", "https://ci.example/runs/7"),
    ] = None
    actions: Annotated[
        Annotated[list[Action], Field(max_length=10)] | None, about("what a reader may want to do next")
    ] = None
    service_name: Annotated[ShortText | None, about("the service it is about", "checkout")] = None
    endpoint: Annotated[ShortText | None, about("that was called", "/api/v1/orders")] = None
    request_id: Annotated[ShortText | None, about("of that call", "req-7f3a")] = None
    response_code: Annotated[
        Annotated[int, Field(ge=0, le=999)] | None, about("HTTP status that it answered", 502)
    ] = None
    current: Annotated[Count | None, about("how far it is; not more than `total`", 3)] = None
    total: Annotated[Count | None, about("how far it will go", 10)] = None
    current_value: Annotated[float | None, about("what was measured", 2.4)] = None
    threshold: Annotated[float | None, about("what it should not pass", 2.0)] = None
    metadata: Annotated[
        Details | None, about("anything; `project` is what routes ask for", {"project": "shop"})
    ] = None

    @model_validator(mode="after")
    def _progress_within_total(self) -> Self:
        if self.current is not None and self.total is not None and self.current > self.total:
            raise faults("EventData", {("current",): "current is more than total"})
        return self


def faults(title: str, found: dict[tuple[str, ...], str]) -> ValidationError:
    """What a model raises that has looked at several fields: each fault stands at its own field."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{said}", {"said": said}), loc=loc, input=None
        )
        for loc, said in found.items()
    ]
    return ValidationError.from_exception_data(title, details)
