"""Approvals: questions to people as clients post them, and as the bridge returns them."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from services.contracts.fields import (
    A_TIME,
    A_TRACE,
    AN_ID,
    BotName,
    ChatReference,
    CorrelationId,
    Details,
    Line,
    Severity,
    Strict,
    ThreadId,
    Url,
    Visible,
    about,
    plain_name,
    storable,
)
from services.contracts.messages import Cursor
from services.contracts.questions import (
    ANSWER_HELP,
    DEFAULT_REMINDERS,
    DEFAULT_TEXT,
    ESCALATE_AFTER_HELP,
    ESCALATE_TO_HELP,
    LONGEST_LIFE_SECONDS,
    LONGEST_TEXT,
    MAX_LENGTH_HELP,
    NEEDED_HELP,
    REMIND_EVERY_HELP,
    REMIND_TIMES_HELP,
    SHORTEST_LIFE_SECONDS,
    AnswerKind,
    EscalationDelay,
    People,
    PeopleNeeded,
    ReminderCount,
    ReminderInterval,
    TextLength,
    contradiction,
)
from services.contracts.times import When, lifetime
from services.kit.field_errors import ErrorText

LONGEST_PROMPT = 100_000

Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, strip_whitespace=True, pattern=r"^[^\x00-\x1f]+$"),
    ErrorText("write a text of one line, 1 to 64 characters"),
    Visible,
]
Name = Annotated[str, storable(100)]
Comment = Annotated[str, storable(200)]


class NewOption(Strict):
    """One answer that a person can give."""

    value: Annotated[Label, about("value that the client gets as the answer", "deploy")]
    label: Annotated[Label, about("text on the button", "Deploy")]


def _option(given: object) -> object:
    """Expands ``"Approve"`` to ``{"value": "Approve", "label": "Approve"}``."""
    return {"value": given, "label": given} if isinstance(given, str) else given


def _distinct(options: list[NewOption]) -> list[NewOption]:
    for field in ("value", "label"):
        values = [plain_name(getattr(option, field)) for option in options]
        if len(set(values)) != len(values):
            raise ValueError(f"two options have the same {field}")
    return options


Options = Annotated[
    list[Annotated[NewOption, BeforeValidator(_option)]],
    Field(min_length=1, max_length=10),
    AfterValidator(_distinct),
]


def default_options() -> list[NewOption]:
    """The options of a question that names none."""
    return [NewOption(value="approve", label="Approve"), NewOption(value="deny", label="Deny")]


class NewApproval(Strict):
    """A question, as posted to ``POST /api/v1/approvals``."""

    title: Annotated[Line, about("first line of the question, in bold", "Deploy 2.1?")]
    prompt: Annotated[
        Annotated[str, storable(LONGEST_PROMPT, 1), Visible],
        about("text of the question, shown unchanged; sent as a file if it is too long", "make deploy V=2.1"),
    ]
    options: Annotated[
        Options,
        about(
            "1 to 10 options: texts, or value and label", ["Deploy", {"value": "no", "label": "Not today"}]
        ),
    ] = Field(default_factory=default_options)
    expires_in: Annotated[
        Annotated[float, *lifetime(SHORTEST_LIFE_SECONDS, LONGEST_LIFE_SECONDS)] | None,
        about("a duration from now, or seconds; default: APPROVAL_EXPIRES_SECONDS", "10m", 3_600.0),
    ] = None
    expires_at: Annotated[
        When | None, about("instead of expires_in: a time, 5 seconds to 30 days ahead", A_TIME)
    ] = None
    chat_id: Annotated[
        ChatReference | Annotated[list[ChatReference], Field(min_length=1, max_length=100)] | None,
        about(
            "one chat or several, each as its ID, @username, or name in its settings; default: the default"
            " recipients",
            1001,
        ),
    ] = None
    thread_id: Annotated[ThreadId | None, about("topic of the chat", 7)] = None
    bot: Annotated[BotName | None, about("bot that asks; default: the default bot", "default")] = None
    approvers: Annotated[
        People | None,
        about("people who may decide, among the bot's allowed users; default: all of them", [1001]),
    ] = None
    answer: Annotated[AnswerKind, about(ANSWER_HELP, "text")] = "option"
    max_length: Annotated[TextLength, about(MAX_LENGTH_HELP, 200)] = DEFAULT_TEXT
    needed: Annotated[PeopleNeeded, about(NEEDED_HELP, 2)] = 1
    remind_every: Annotated[ReminderInterval | None, about(REMIND_EVERY_HELP, "10m")] = None
    remind_times: Annotated[ReminderCount, about(REMIND_TIMES_HELP, 3)] = DEFAULT_REMINDERS
    escalate_after: Annotated[EscalationDelay | None, about(ESCALATE_AFTER_HELP, "30m")] = None
    escalate_to: Annotated[People | None, about(ESCALATE_TO_HELP, [1001])] = None
    source: Annotated[Name, about("name of the program that asks, shown to people", "ci")] = ""
    severity: Annotated[Severity, about("importance of the decision", "high")] = Severity.HIGH
    correlation_id: Annotated[
        CorrelationId | None, about("ID to search by; default: the header X-Correlation-ID", "order-4711")
    ] = None
    callback_url: Annotated[
        Url | None,
        about("gets the result as a signed webhook (Standard Webhooks)", "https://ci.example/hooks/answer"),
    ] = None
    metadata: Annotated[Details | None, about("returned unchanged with the answer", {"run": 7})] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.expires_in is not None and self.expires_at is not None:
            raise ValueError("give expires_in or expires_at, not both")
        given = {name: getattr(self, name) for name in self.model_fields_set}
        wrong = contradiction({name: value for name, value in given.items() if value is not None})
        if wrong is not None:
            raise ValueError(wrong[1])
        chats = self.chat_id if isinstance(self.chat_id, list) else []
        if len(set(chats)) != len(chats):
            raise ValueError("chat_id names a chat twice")
        return self


class Decide(Strict):
    """A decision over the API, by a program or by a person who uses one."""

    option: Annotated[Label | None, about("value, label or number of an option", "deploy")] = None
    text: Annotated[
        Annotated[str, storable(LONGEST_TEXT, 1), Visible] | None,
        about("the answer to a question that is answered by a text", "the nozzle was blocked"),
    ] = None
    by: Annotated[Name, about("who decided; shown together with the name of the API key", "Ada")] = ""
    comment: Annotated[Comment, about("reason, shown with the decision", "the canary is fine")] = ""

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (self.option is None) == (self.text is None):
            raise ValueError("give option, or text if the question is answered by a text")
        return self


class Cancel(Strict):
    """Cancels a question."""

    by: Annotated[Name, about("who cancels; shown together with the name of the API key", "ci")] = ""
    reason: Annotated[
        Comment, about("reason, shown to the people who were asked", "the build failed meanwhile")
    ] = ""


class Decision(BaseModel):
    """The decision, and who made it."""

    option: Annotated[str | None, about("value of the chosen option; null if a text is the answer", "deploy")]
    label: Annotated[str | None, about("text on its button; null likewise", "Deploy")]
    text: Annotated[
        str | None, about("the answer in the person's own words; null if it is an option", "it was blocked")
    ] = None
    by: Annotated[str, about("name of the person, or of the program and its API key", "Ada")]
    user_id: Annotated[int | None, about("Telegram's ID of the person; null over the API", 1001)]
    via: Annotated[str, about("tap, reply, command or api", "tap")]
    comment: Annotated[str, about("reason that was given", "the canary is fine")]


class QuestionMessage(BaseModel):
    """A message that shows the question or its result."""

    message_id: Annotated[str, about("ID of the message", AN_ID)]
    chat_id: Annotated[int, about("chat that shows it", 1001)]
    kind: Annotated[
        Literal["question", "again", "progress", "verdict"],
        about("the question, the question asked again, who has answered so far, or the result", "question"),
    ]
    status: Annotated[str | None, about("state of the message; null if it was archived", "delivered")]
    last_error: Annotated[str | None, about("reason of the last failed attempt", "chat_not_found")] = None


class Answer(BaseModel):
    """One answer and its outcome; also answers that decided nothing."""

    at: Annotated[str, about("time of the answer", A_TIME)]
    via: Annotated[str, about("tap, reply, command or api", "tap")]
    user_id: Annotated[int | None, about("Telegram's ID of the person; null over the API", 1001)]
    name: Annotated[str, about("name of the person or the program", "Ada")]
    option: Annotated[
        str | None, about("value of the chosen option; null if the answer is no option", "deploy")
    ]
    text: Annotated[
        str | None, about("the answer to a question that is answered by a text", "the nozzle was blocked")
    ] = None
    outcome: Annotated[
        str,
        about(
            "decided, counted (the first option needs more people), late, foreign, expired, cancelled,"
            " no_such_option or invalid_text",
            "decided",
        ),
    ]


class Approver(BaseModel):
    """A person who has chosen the first option, where that needs several people."""

    name: Annotated[str, about("name of the person, or of the program and its API key", "Ada")]
    user_id: Annotated[int | None, about("Telegram's ID of the person; null over the API", 1001)]
    via: Annotated[str, about("tap, reply, command or api", "tap")]
    at: Annotated[str, about("time of the answer", A_TIME)]


class Callback(BaseModel):
    """The last webhook call to `callback_url`."""

    id: Annotated[str, about("webhook-id of every attempt", AN_ID)]
    type: Annotated[str, about("what it reports", "approval.decided")]
    status: Annotated[str, about("waiting, delivered or failed", "delivered")]
    attempts: Annotated[int, about("number of attempts made", 1)]
    last_error: Annotated[str | None, about("why the last attempt failed", "502 Bad Gateway")]
    next_attempt_at: Annotated[str | None, about("time of the next attempt, while it waits", A_TIME)]


class ApprovalLinks(BaseModel):
    """URLs of a question, its event and its trace."""

    self: Annotated[str, about("the question", f"/api/v1/approvals/{AN_ID}")]
    event: Annotated[str, about("its event", f"/api/v1/events/{AN_ID}")]
    trace: Annotated[
        str | None,
        about(
            "its trace in Jaeger; null if JAEGER_UI_URL is not set",
            f"http://localhost:16686/trace/{A_TRACE}",
        ),
    ]


ApprovalStatus = Literal["open", "undelivered", "decided", "expired", "cancelled"]


class ApprovalView(BaseModel):
    """A question with its messages, answers and result."""

    id: Annotated[str, about("ID of the question", AN_ID)]
    code: Annotated[str, about("code for the command /approve CODE OPTION", "K7Q2")]
    status: Annotated[
        ApprovalStatus,
        about("state of the question; undelivered: it is open, and no chat shows it", "decided"),
    ]
    visible_in: Annotated[
        int | None, about("number of chats in which it was delivered; null if that was archived", 1)
    ]
    perhaps_visible_in: Annotated[
        int | None, about("number of further chats in which it may be: Telegram's answer was lost", 0)
    ]
    undelivered_at: Annotated[str | None, about("when its last message ended undelivered", A_TIME)]
    bot: Annotated[str, about("bot that asks", "default")]
    client: Annotated[str, about("name of the API key that asked", "ci")]
    title: Annotated[str, about("first line of the question", "Deploy 2.1?")]
    prompt: Annotated[str, about("text of the question", "make deploy V=2.1")]
    answer: Annotated[Literal["option", "text"], about("what people answer with", "option")] = "option"
    max_length: Annotated[int | None, about("longest text that is taken; null: an option", 200)] = None
    options: Annotated[list[NewOption], about("possible answers; empty if a text is the answer")]
    approvers: Annotated[list[int], about("Telegram's IDs of the people who may decide", [1001])]
    needed: Annotated[int, about("number of different people who must choose the first option", 2)] = 1
    approved_by: Annotated[
        list[Approver], about("who has chosen the first option so far; empty if `needed` is 1")
    ] = []
    source: Annotated[str, about("name of the program that asks", "ci")]
    correlation_id: Annotated[str, about("ID to search by", "order-4711")]
    event_id: Annotated[str, about("ID of its event", AN_ID)]
    trace_id: Annotated[str | None, about("trace of that event", A_TRACE)]
    created_at: Annotated[str, about("when it was asked", A_TIME)]
    expires_at: Annotated[str, about("when it expires", A_TIME)]
    closed_at: Annotated[str | None, about("when it ended; null while it is open", A_TIME)]
    decision: Annotated[Decision | None, about("the decision; null if there is none")]
    cancelled_by: Annotated[str | None, about("who cancelled it", "ci")] = None
    reason: Annotated[str | None, about("why it was cancelled", "the build failed meanwhile")] = None
    callback_url: Annotated[str | None, about("URL that gets the result", "https://ci.example/hooks/answer")]
    metadata: Annotated[dict[str, Any] | None, about("as the client gave it", {"run": 7})]
    messages: Annotated[
        list[QuestionMessage], about("messages that show it; empty in a list of questions")
    ] = []
    answers: Annotated[list[Answer], about("all answers; empty in a list of questions")] = []
    callback: Annotated[
        Callback | None, about("the last webhook call to `callback_url`, if there is one")
    ] = None
    links: Annotated[ApprovalLinks, about("links to related resources")]


class Approvals(BaseModel):
    """A page of questions, newest first."""

    items: Annotated[list[ApprovalView], about("at most `limit` questions")]
    next_cursor: Cursor
