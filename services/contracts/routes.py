"""Routes: rules that choose the recipients of events, as people write them and as the bridge returns them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from services.contracts.events import CATEGORY_OF, Category, NewEvent
from services.contracts.fields import (
    A_TIME,
    LARGEST_INT,
    BotName,
    ChatReference,
    Flag,
    Severity,
    Strict,
    ThreadId,
    about,
    storable,
)

MOST_RULES = 500
MOST_TARGETS = 100


def _listed(value: object) -> object:
    """Accepts ``"a"`` for ``["a"]``."""
    return [value] if isinstance(value, str) else value


Pattern = Annotated[str, storable(200, 1)]
Patterns = Annotated[list[Pattern], BeforeValidator(_listed), Field(max_length=100)]


class TargetDocument(Strict):
    """A recipient."""

    chat_id: Annotated[
        ChatReference,
        about(
            "a person, a group or a channel: its ID, @username, or name in its settings",
            -1001234567890,
            "Operations",
        ),
    ]
    thread_id: Annotated[ThreadId | None, about("ID of a topic of the chat", 7)] = None
    silent: Annotated[Flag, about("whether the message makes no sound", False)] = False
    bot: Annotated[
        BotName | None,
        about("the bot that sends it; unset: the event's bot, or the default one", "default"),
    ] = None


class RuleDocument(Strict):
    """A rule. It matches an event if every condition that is set matches."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Annotated[
        Annotated[str, storable(64, 1)],
        about("name of the rule, unique", "production alarms"),
    ]
    type: Annotated[
        Annotated[list[Annotated[str, storable(64)]], BeforeValidator(_listed), Field(max_length=100)],
        about("matches these event types", ["build_failed"]),
    ] = Field([])
    category: Annotated[
        Annotated[list[Category], BeforeValidator(_listed), Field(max_length=20)],
        about("matches these categories", ["system"]),
    ] = Field([])
    severity: Annotated[
        Annotated[list[Severity], BeforeValidator(_listed), Field(max_length=10)],
        about("matches these severities", ["high", "critical"]),
    ] = Field([])
    source: Annotated[Patterns, about("matches these sources; * and ? are wildcards", ["prod-*"])] = Field([])
    project: Annotated[
        Patterns,
        about("matches data.metadata.project, or the source without it; * and ? are wildcards", ["shop"]),
    ] = Field([])
    to: Annotated[
        Annotated[list[TargetDocument], Field(min_length=1, max_length=MOST_TARGETS)],
        about("the recipients"),
    ]
    goes_on: Annotated[
        Flag,
        Field(alias="continue", description="whether later rules are evaluated too", examples=[False]),
    ] = False

    @model_validator(mode="after")
    def _known_types(self) -> Self:
        for kind in self.type:
            if kind not in CATEGORY_OF:
                raise ValueError(f"type: {kind!r} is none of GET /api/v1/event-types")
        return self


def _different_names(rules: list[RuleDocument]) -> list[RuleDocument]:
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two routes are named {name!r}")
    return rules


Rules = Annotated[list[RuleDocument], Field(max_length=MOST_RULES), AfterValidator(_different_names)]


class RoutesDocument(Strict):
    """All rules, in the order of evaluation."""

    routes: Annotated[Rules, about("the rules; evaluation stops at the first match")]


class NewRoutes(RoutesDocument):
    """All rules, and the version that they replace."""

    version: Annotated[
        Annotated[int, Field(strict=True, ge=0, le=LARGEST_INT)] | None,
        about("the version that you read; if it is not the current one, nothing is replaced", 3),
    ] = None


class RoutesView(BaseModel):
    """The rules in force and their origin."""

    source: Annotated[Literal["file", "api"], about("`file` if ROUTES_FILE is set, which wins", "api")]
    version: Annotated[int, about("version of the API's routes; 0: none were set, or a file is used", 3)]
    updated_at: Annotated[str | None, about("when they came into force; null: never", A_TIME)]
    updated_by: Annotated[str | None, about("name of the key; null for a file", "ops")]
    error: Annotated[
        str | None,
        about("why a changed file or a stored rule is not in force", "route 1: to: this field is missing"),
    ]
    routes: Annotated[list[RuleDocument], about("the rules, in the order of evaluation")]


class Trial(Strict):
    """An event to route without sending it."""

    event: Annotated[NewEvent, about("the event, as it would be posted")]
    routes: Annotated[
        Rules | None,
        about("rules to evaluate instead of those in force"),
    ] = None


class RecipientView(BaseModel):
    """A recipient of the event."""

    chat_id: Annotated[int, about("ID of a person, a group or a channel", 1001)]
    thread_id: Annotated[int | None, about("ID of the topic of the chat", 7)]
    silent: Annotated[bool, about("whether the message would make no sound", False)]
    bot: Annotated[str, about("the bot that would send it", "default")]
    rule: Annotated[
        str | None, about("name of the rule; null: the event or the defaults name the recipient", "alarms")
    ]


class TrialResult(BaseModel):
    """The recipients of an event."""

    by: Annotated[Literal["event", "rules", "defaults"], about("what names the recipients", "rules")]
    recipients: Annotated[list[RecipientView], about("the recipients; may be empty")]
