"""Routes over REST: read them, replace them as a whole, and try them without sending."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.bridge.bots import DEFAULT
from services.bridge.routes.active_routes import ActiveRoutes
from services.bridge.routes.document import MOST_RULES, RoutesDocument, RuleDocument
from services.bridge.state import CallerKey, State
from services.contracts.events import NewEvent
from services.contracts.fields import A_TIME, Strict, about
from services.kit.clock import rfc3339
from services.kit.errors import invalid_input
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1/routes", tags=["routes"])


class NewRoutes(RoutesDocument):
    """All rules, and the version that they replace."""

    version: Annotated[
        Annotated[int, Field(ge=0)] | None,
        about("the version that you read; if it is not the current one, nothing is replaced", 3),
    ] = None


class RoutesView(BaseModel):
    """The rules in force and their origin."""

    source: Annotated[Literal["file", "api"], about("`file` if ROUTES_FILE is set, which wins", "api")]
    version: Annotated[int, about("version of the API's routes; 0: none were set, or a file is used", 3)]
    updated_at: Annotated[str | None, about("when they came into force; null: never", A_TIME)]
    updated_by: Annotated[str | None, about("name of the key; null for a file", "ops")]
    error: Annotated[str | None, about("why a changed file is not in force", "route 1: to: Field required")]
    routes: Annotated[list[RuleDocument], about("the rules, in the order of evaluation")]


class Trial(Strict):
    """An event to route without sending it."""

    event: Annotated[NewEvent, about("the event, as it would be posted")]
    routes: Annotated[
        Annotated[list[RuleDocument], Field(max_length=MOST_RULES)] | None,
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


@router.get("", summary="Read the routes in force")
async def read(state: State) -> RoutesView:
    """They come from the file or from the API, never from both."""
    return _view(state.active_routes)


@router.put(
    "",
    summary="Replace all routes",
    responses=problems({409: "the routes are in a file, or at another version"}),
)
async def replace(state: State, caller: CallerKey, new: NewRoutes) -> RoutesView:
    """They are in force in this replica with the answer, in the others within a second."""
    rules = RoutesDocument(routes=new.routes)
    await state.active_routes.replace(state.outbox.database, rules, caller.name, new.version)
    return _view(state.active_routes)


@router.post("/test", summary="Find the recipients of an event without sending it")
async def test(state: State, trial: Trial) -> TrialResult:
    """Evaluates the routes in force, or those of the request."""
    routes = state.active_routes.routes
    if trial.routes is not None:
        routes = state.active_routes.check_bots(RoutesDocument(routes=trial.routes))
    if trial.event.bot is not None and trial.event.bot not in routes.bots:
        raise invalid_input([{"loc": ["body", "event", "bot"], "msg": "no bot has this name"}])
    found = routes.recipients(trial.event)
    routed = any(recipient.rule for recipient in found)
    return TrialResult(
        by="event" if trial.event.chat_id is not None else "rules" if routed else "defaults",
        recipients=[
            RecipientView(
                chat_id=recipient.target.chat_id,
                thread_id=recipient.target.thread_id or trial.event.thread_id,
                silent=recipient.target.silent or trial.event.silent,
                bot=recipient.target.bot or trial.event.bot or DEFAULT,
                rule=recipient.rule,
            )
            for recipient in found
        ],
    )


def _view(routing: ActiveRoutes) -> RoutesView:
    kept = routing.kept
    return RoutesView(
        source=routing.source,
        version=kept.version,
        updated_at=None if kept.updated_at is None else rfc3339(kept.updated_at),
        updated_by=kept.updated_by or None,
        error=routing.error,
        routes=kept.document.routes,
    )
