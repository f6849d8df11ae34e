"""Routes over REST: read, replaced as a whole, and tried without sending."""

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
    """All rules, and which ones they replace."""

    version: Annotated[
        Annotated[int, Field(ge=0)] | None,
        about("that you have read; where the routes are at another one, nothing is replaced", 3),
    ] = None


class RoutesView(BaseModel):
    """The rules in force, and where they are from."""

    source: Annotated[Literal["file", "api"], about("file: ROUTES_FILE is set and wins over the API", "api")]
    version: Annotated[int, about("of the API's routes; 0: none were set, or they are in a file", 3)]
    updated_at: Annotated[str | None, about("when they came into force; null: there never were any", A_TIME)]
    updated_by: Annotated[str | None, about("name of the key; null: a file", "ops")]
    error: Annotated[str | None, about("why a changed file is not in force", "route 1: to: Field required")]
    routes: Annotated[list[RuleDocument], about("in the order that they are tried in")]


class Trial(Strict):
    """An event that is not sent."""

    event: Annotated[NewEvent, about("as it would be posted")]
    routes: Annotated[
        Annotated[list[RuleDocument], Field(max_length=MOST_RULES)] | None,
        about("to be tried instead of those in force"),
    ] = None


class RecipientView(BaseModel):
    """One who would get it."""

    chat_id: Annotated[int, about("a person, a group or a channel", 1001)]
    thread_id: Annotated[int | None, about("the topic of the chat", 7)]
    silent: Annotated[bool, about("whether it would make no sound", False)]
    bot: Annotated[str, about("which bot would send it", "default")]
    rule: Annotated[
        str | None, about("that gives it to them; null: the event itself, or the defaults", "alarms")
    ]


class TrialResult(BaseModel):
    """Who would get an event."""

    by: Annotated[Literal["event", "rules", "defaults"], about("who says who gets it", "rules")]
    recipients: Annotated[list[RecipientView], about("none where there is nobody")]


@router.get("", summary="The routes in force")
async def read(state: State) -> RoutesView:
    """Of the file, or of the API: they are never mixed."""
    return _view(state.active_routes)


@router.put(
    "",
    summary="Replace all routes; they are in force with the answer",
    responses=problems({409: "they are in a file, or at another version"}),
)
async def replace(state: State, caller: CallerKey, new: NewRoutes) -> RoutesView:
    """The other replicas take them within a second."""
    rules = RoutesDocument(routes=new.routes)
    await state.active_routes.replace(state.outbox.database, rules, caller.name, new.version)
    return _view(state.active_routes)


@router.post("/test", summary="Who would get an event, and by which rule; nothing is sent")
async def test(state: State, trial: Trial) -> TrialResult:
    """Of the routes in force, or of others that are being thought of."""
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
