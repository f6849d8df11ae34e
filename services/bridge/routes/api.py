"""Routes over REST: read them, replace them as a whole, and try them without sending."""

from fastapi import APIRouter

from services.bridge.bots import DEFAULT
from services.bridge.routes.active_routes import ActiveRoutes
from services.bridge.state import CallerKey, State
from services.contracts.routes import NewRoutes, RecipientView, RoutesDocument, RoutesView, Trial, TrialResult
from services.kit.clock import rfc3339
from services.kit.errors import invalid_input
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1/routes", tags=["routes"])


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
    # Its fields were validated with the request.
    rules = RoutesDocument.model_construct(routes=new.routes)
    await state.active_routes.replace(state.outbox.database, rules, caller.name, new.version)
    return _view(state.active_routes)


@router.post("/test", summary="Find the recipients of an event without sending it")
async def test(state: State, trial: Trial) -> TrialResult:
    """Evaluates the routes in force, or those of the request."""
    routes = state.active_routes.routes
    if trial.routes is not None:
        routes = state.active_routes.check_bots(RoutesDocument.model_construct(routes=trial.routes))
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
    stored = routing.stored
    return RoutesView(
        source=routing.source,
        version=stored.version,
        updated_at=None if stored.updated_at is None else rfc3339(stored.updated_at),
        updated_by=stored.updated_by or None,
        error=routing.error,
        routes=stored.document.routes,
    )
