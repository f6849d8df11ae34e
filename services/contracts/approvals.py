"""Questions to people, as clients ask them, and the answers to those requests."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from services.contracts.fields import BotName, ChatId, Details, Line, Severity, Strict

LONGEST_PROMPT = 100_000
SHORTEST_LIFE_SECONDS = 5.0
LONGEST_LIFE_SECONDS = 30 * 86_400.0
MOST_APPROVERS = 100

Label = Annotated[
    str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True, pattern=r"^[^\x00-\x1f]+$")
]
UserId = Annotated[int, Field(ge=1, le=2**53)]


class NewOption(Strict):
    """One answer that a person can give."""

    value: Label = Field(description="what the asking program gets")
    label: Label = Field(description="what the button says")


def _option(given: object) -> object:
    """``"Approve"`` is short for ``{"value": "Approve", "label": "Approve"}``."""
    return {"value": given, "label": given} if isinstance(given, str) else given


def _distinct(options: list[NewOption]) -> list[NewOption]:
    for field in ("value", "label"):
        said = [getattr(option, field).casefold() for option in options]
        if len(set(said)) != len(said):
            raise ValueError(f"two options have the same {field}")
    return options


Options = Annotated[
    list[Annotated[NewOption, BeforeValidator(_option)]],
    Field(min_length=1, max_length=10),
    AfterValidator(_distinct),
]


class NewApproval(Strict):
    """A question, as posted to ``POST /api/v1/approvals``."""

    title: Line
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PROMPT)] = Field(
        description="shown exactly; attached whole as a file where it does not fit a message"
    )
    options: Options = Field(
        default_factory=lambda: [
            NewOption(value="approve", label="Approve"),
            NewOption(value="deny", label="Deny"),
        ],
        description="1 to 10, as texts or as value and label",
    )
    expires_in: Annotated[float, Field(ge=SHORTEST_LIFE_SECONDS, le=LONGEST_LIFE_SECONDS)] | None = Field(
        None, description="seconds from now; unset, like expires_at: a day"
    )
    expires_at: AwareDatetime | None = None
    chat_id: ChatId | Annotated[list[ChatId], Field(min_length=1, max_length=100)] | None = Field(
        None, description="one chat or several; unset: the default ones"
    )
    thread_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    bot: BotName | None = Field(None, description="which bot asks, by name; unset: the default one")
    approvers: Annotated[list[UserId], Field(min_length=1, max_length=MOST_APPROVERS)] | None = Field(
        None,
        description="who may decide, of TELEGRAM_ALLOWED_USERS or the bot's own; unset: all of them",
    )
    source: Annotated[str, StringConstraints(max_length=100)] = ""
    severity: Severity = Severity.HIGH
    correlation_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,128}$")] | None = None
    callback_url: Annotated[str, StringConstraints(max_length=2_048)] | None = Field(
        None, description="gets the result as a signed webhook (Standard Webhooks)"
    )
    metadata: Details | None = Field(None, description="given back with the answer")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.expires_in is not None and self.expires_at is not None:
            raise ValueError("give expires_in or expires_at, not both")
        chats = self.chat_id if isinstance(self.chat_id, list) else []
        if len(set(chats)) != len(chats):
            raise ValueError("chat_id names a chat twice")
        return self


class Decide(Strict):
    """A decision made by a program, or by a person through one."""

    option: Label = Field(description="the value, the label or the number of an option")
    by: Annotated[str, StringConstraints(max_length=100)] = Field(
        "", description="who decided; told with the key's name, which is audited too"
    )
    comment: Annotated[str, StringConstraints(max_length=200)] = ""


class Cancel(Strict):
    by: Annotated[str, StringConstraints(max_length=100)] = ""
    reason: Annotated[str, StringConstraints(max_length=200)] = ""


class Decision(BaseModel):
    option: str
    label: str
    by: str = Field(description="name of the person, or of the program and its key")
    user_id: int | None = Field(description="Telegram's id of the person; null through the API")
    via: str = Field(description="tap, reply, command or api")
    comment: str


class QuestionMessage(BaseModel):
    message_id: str
    chat_id: int
    kind: Literal["question", "again", "verdict"]
    status: str | None = Field(description="state of the message; null where it was archived")


class Answer(BaseModel):
    """Everything that anybody answered, and what it came to."""

    at: str
    via: str
    user_id: int | None
    name: str
    option: str | None
    outcome: str = Field(description="decided, late, foreign, expired, cancelled or no_such_option")


class Callback(BaseModel):
    id: str
    status: str
    attempts: int
    last_error: str | None
    next_attempt_at: str | None


class ApprovalLinks(BaseModel):
    self: str
    event: str
    trace: str | None


class ApprovalView(BaseModel):
    """A question with all that became of it."""

    id: str
    code: str = Field(description="for /approve CODE OPTION")
    status: Literal["open", "decided", "expired", "cancelled"]
    bot: str
    client: str = Field(description="name of the key that asked")
    title: str
    prompt: str
    options: list[NewOption]
    approvers: list[int]
    source: str
    correlation_id: str
    event_id: str
    trace_id: str | None
    created_at: str
    expires_at: str
    closed_at: str | None
    decision: Decision | None
    cancelled_by: str | None = None
    reason: str | None = Field(None, description="why it was cancelled")
    callback_url: str | None
    metadata: dict[str, Any] | None
    messages: list[QuestionMessage] = []
    answers: list[Answer] = []
    callback: Callback | None = None
    links: ApprovalLinks
