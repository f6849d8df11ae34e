"""Routes over REST: read, replaced as a whole, and tried without sending."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request

from services.bridge.bots import DEFAULT
from services.bridge.routes.document import MOST_RULES, RoutesDocument, RuleDocument
from services.bridge.routes.routing import Routing
from services.contracts.events import NewEvent
from services.contracts.fields import Strict
from services.kit.clock import rfc3339
from services.kit.errors import invalid_input

router = APIRouter(prefix="/api/v1/routes", tags=["routes"])


class NewRoutes(RoutesDocument):
    version: Annotated[int, Field(ge=0)] | None = Field(
        None, description="that you have read; where the routes are at another one, nothing is replaced"
    )


class RoutesView(BaseModel):
    source: Literal["file", "api"] = Field(description="file: ROUTES_FILE is set and wins over the API")
    version: int = Field(description="of the API's routes; 0: none were set, or they are in a file")
    updated_at: str | None
    updated_by: str | None
    error: str | None = Field(description="why a changed file is not in force")
    routes: list[RuleDocument]


class Trial(Strict):
    """An event that is not sent."""

    event: NewEvent
    routes: Annotated[list[RuleDocument], Field(max_length=MOST_RULES)] | None = Field(
        None, description="to be tried instead of those in force"
    )


class RecipientView(BaseModel):
    chat_id: int
    thread_id: int | None
    silent: bool
    bot: str
    rule: str | None = Field(description="that gives it to them; null: the event itself, or the defaults")


class TrialResult(BaseModel):
    by: Literal["event", "rules", "defaults"] = Field(description="who says who gets it")
    recipients: list[RecipientView]


async def routing_of(request: Request) -> Routing:
    routing: Routing = request.state.routing
    return routing


InForce = Annotated[Routing, Depends(routing_of)]


@router.get("", summary="The routes in force")
async def read(routing: InForce) -> RoutesView:
    return _view(routing)


@router.put(
    "",
    summary="Replace all routes; they are in force with the answer",
    responses={409: {"description": "they are in a file, or at another version"}},
)
async def replace(request: Request, routing: InForce, new: NewRoutes) -> RoutesView:
    """The other replicas take them within a second."""
    rules = RoutesDocument(routes=new.routes)
    await routing.replace(request.state.outbox.database, rules, request.state.client, new.version)
    return _view(routing)


@router.post("/test", summary="Who would get an event, and by which rule; nothing is sent")
async def test(routing: InForce, trial: Trial) -> TrialResult:
    routes = routing.routes
    if trial.routes is not None:
        routes = routing.check_bots(RoutesDocument(routes=trial.routes))
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


def _view(routing: Routing) -> RoutesView:
    kept = routing.kept
    return RoutesView(
        source=routing.source,
        version=kept.version,
        updated_at=None if kept.updated_at is None else rfc3339(kept.updated_at),
        updated_by=kept.updated_by or None,
        error=routing.error,
        routes=kept.document.routes,
    )
