"""Questions to people, as clients ask them, and the answers to those requests."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from services.contracts.fields import (
    A_TIME,
    A_TRACE,
    AN_ID,
    BotName,
    ChatId,
    CorrelationId,
    Details,
    Line,
    Moment,
    Severity,
    Strict,
    ThreadId,
    about,
)
from services.contracts.messages import Cursor

LONGEST_PROMPT = 100_000
SHORTEST_LIFE_SECONDS = 5.0
LONGEST_LIFE_SECONDS = 30 * 86_400.0
MOST_APPROVERS = 100

Label = Annotated[
    str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True, pattern=r"^[^\x00-\x1f]+$")
]
Name = Annotated[str, StringConstraints(max_length=100)]
Comment = Annotated[str, StringConstraints(max_length=200)]
UserId = Annotated[int, Field(ge=1, le=2**53)]


class NewOption(Strict):
    """One answer that a person can give."""

    value: Annotated[Label, about("what the asking program gets", "deploy")]
    label: Annotated[Label, about("what the button says", "Deploy")]


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

    title: Annotated[Line, about("the first line of the question, in bold", "Deploy 2.1?")]
    prompt: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PROMPT)],
        about("shown exactly; attached whole as a file where it does not fit a message", "make deploy V=2.1"),
    ]
    options: Annotated[
        Options,
        about("1 to 10, as texts or as value and label", ["Deploy", {"value": "no", "label": "Not today"}]),
    ] = Field(
        default_factory=lambda: [
            NewOption(value="approve", label="Approve"),
            NewOption(value="deny", label="Deny"),
        ]
    )
    expires_in: Annotated[
        Annotated[float, Field(ge=SHORTEST_LIFE_SECONDS, le=LONGEST_LIFE_SECONDS)] | None,
        about("seconds from now; unset, like expires_at: APPROVAL_EXPIRES_SECONDS", 3_600.0),
    ] = None
    expires_at: Annotated[Moment | None, about("instead: a time, 5 seconds to 30 days ahead", A_TIME)] = None
    chat_id: Annotated[
        ChatId | Annotated[list[ChatId], Field(min_length=1, max_length=100)] | None,
        about("one chat or several; unset: the default ones", 1001),
    ] = None
    thread_id: Annotated[ThreadId | None, about("a topic of the chat", 7)] = None
    bot: Annotated[BotName | None, about("which bot asks; unset: the default one", "default")] = None
    approvers: Annotated[
        Annotated[list[UserId], Field(min_length=1, max_length=MOST_APPROVERS)] | None,
        about("who may decide, of TELEGRAM_ALLOWED_USERS or the bot's own; unset: all of them", [1001]),
    ] = None
    source: Annotated[Name, about("the program that asks, for people", "ci")] = ""
    severity: Annotated[Severity, about("how much hangs on it", "high")] = Severity.HIGH
    correlation_id: Annotated[
        CorrelationId | None, about("found by it everywhere; unset: X-Correlation-ID", "order-4711")
    ] = None
    callback_url: Annotated[
        Annotated[str, StringConstraints(max_length=2_048)] | None,
        about("gets the result as a signed webhook (Standard Webhooks)", "https://ci.example/hooks/answer"),
    ] = None
    metadata: Annotated[Details | None, about("given back with the answer", {"run": 7})] = None

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

    option: Annotated[Label, about("the value, the label or the number of an option", "deploy")]
    by: Annotated[Name, about("who decided; told with the key's name, which is audited too", "Ada")] = ""
    comment: Annotated[Comment, about("why", "the canary is fine")] = ""


class Cancel(Strict):
    """Why a question is taken back."""

    by: Annotated[Name, about("who takes it back; audited", "ci")] = ""
    reason: Annotated[Comment, about("told to those who were asked", "the build failed meanwhile")] = ""


class Decision(BaseModel):
    """What was decided, and by whom."""

    option: Annotated[str, about("the value of the option", "deploy")]
    label: Annotated[str, about("what its button said", "Deploy")]
    by: Annotated[str, about("name of the person, or of the program and its key", "Ada")]
    user_id: Annotated[int | None, about("Telegram's id of the person; null through the API", 1001)]
    via: Annotated[str, about("tap, reply, command or api", "tap")]
    comment: Annotated[str, about("as it was given", "the canary is fine")]


class QuestionMessage(BaseModel):
    """A message that shows the question or its end."""

    message_id: Annotated[str, about("of the message", AN_ID)]
    chat_id: Annotated[int, about("where it is shown", 1001)]
    kind: Annotated[Literal["question", "again", "verdict"], about("what it shows", "question")]
    status: Annotated[str | None, about("its state; null where it was archived", "delivered")]


class Answer(BaseModel):
    """Everything that anybody answered, and what it came to."""

    at: Annotated[str, about("when", A_TIME)]
    via: Annotated[str, about("tap, reply, command or api", "tap")]
    user_id: Annotated[int | None, about("Telegram's id of the person; null through the API", 1001)]
    name: Annotated[str, about("of the person or the program", "Ada")]
    option: Annotated[str | None, about("the value that was chosen", "deploy")]
    outcome: Annotated[str, about("decided, late, foreign, expired, cancelled or no_such_option", "decided")]


class Callback(BaseModel):
    """The call that tells the result."""

    id: Annotated[str, about("the webhook-id of every attempt", AN_ID)]
    status: Annotated[str, about("waiting, delivered or failed", "delivered")]
    attempts: Annotated[int, about("how many were made", 1)]
    last_error: Annotated[str | None, about("why the last one failed", "502 Bad Gateway")]
    next_attempt_at: Annotated[str | None, about("while it waits for another one", A_TIME)]


class ApprovalLinks(BaseModel):
    """Where there is more."""

    self: Annotated[str, about("the question", f"/api/v1/approvals/{AN_ID}")]
    event: Annotated[str, about("the event that carries it", f"/api/v1/events/{AN_ID}")]
    trace: Annotated[
        str | None,
        about("in Jaeger; null where none is configured", f"http://localhost:16686/trace/{A_TRACE}"),
    ]


class ApprovalView(BaseModel):
    """A question with all that became of it."""

    id: Annotated[str, about("of the question", AN_ID)]
    code: Annotated[str, about("for /approve CODE OPTION", "K7Q2")]
    status: Annotated[Literal["open", "decided", "expired", "cancelled"], about("its state", "decided")]
    bot: Annotated[str, about("which bot asks", "default")]
    client: Annotated[str, about("name of the key that asked", "ci")]
    title: Annotated[str, about("the first line of the question", "Deploy 2.1?")]
    prompt: Annotated[str, about("what is asked", "make deploy V=2.1")]
    options: Annotated[list[NewOption], about("what can be answered")]
    approvers: Annotated[list[int], about("Telegram's ids of those who may decide", [1001])]
    source: Annotated[str, about("the program that asks", "ci")]
    correlation_id: Annotated[str, about("found by it everywhere", "order-4711")]
    event_id: Annotated[str, about("the event that carries it", AN_ID)]
    trace_id: Annotated[str | None, about("of that event's trace", A_TRACE)]
    created_at: Annotated[str, about("when it was asked", A_TIME)]
    expires_at: Annotated[str, about("until when it can be answered", A_TIME)]
    closed_at: Annotated[str | None, about("when it ended; null while it is open", A_TIME)]
    decision: Annotated[Decision | None, about("null where nobody decided")]
    cancelled_by: Annotated[str | None, about("who took it back", "ci")] = None
    reason: Annotated[str | None, about("why it was cancelled", "the build failed meanwhile")] = None
    callback_url: Annotated[str | None, about("who is told the result", "https://ci.example/hooks/answer")]
    metadata: Annotated[dict[str, Any] | None, about("as it was given", {"run": 7})]
    messages: Annotated[list[QuestionMessage], about("that show it; none in a list of questions")] = []
    answers: Annotated[list[Answer], about("all that anybody answered; none in a list of questions")] = []
    callback: Annotated[Callback | None, about("the call that tells the result, if one is made")] = None
    links: Annotated[ApprovalLinks, about("where there is more")]


class Approvals(BaseModel):
    """Questions, newest first."""

    items: Annotated[list[ApprovalView], about("up to `limit`")]
    next_cursor: Cursor
