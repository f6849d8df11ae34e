"""Routes over REST: read them, replace them as a whole, and try them without sending."""

from fastapi import APIRouter

from services.bridge.bots import DEFAULT
from services.bridge.chats.names import NamedChat
from services.bridge.routes.active_routes import ActiveRoutes
from services.bridge.routes.destinations import destinations, named
from services.bridge.state import BridgeState, CallerKey, State
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
    state.active_routes.check_bots(rules)
    await _check_chats(state, rules)
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
    recipients, bot = routes.recipients(trial.event), trial.event.bot or DEFAULT
    names = named(recipients, bot)
    is_list = isinstance(trial.event.chat_id, list)
    found = destinations(
        recipients,
        bot,
        await state.chats.find(names) if names else {},
        ["body", "event", "chat_id"],
        is_list=is_list,
    )
    routed = any(one.rule for one in found)
    return TrialResult(
        by="event" if trial.event.chat_id is not None else "rules" if routed else "defaults",
        recipients=[
            RecipientView(
                chat_id=one.chat_id,
                thread_id=one.thread_id or trial.event.thread_id,
                silent=one.silent or trial.event.silent,
                bot=one.bot or bot,
                rule=one.rule,
            )
            for one in found
        ],
    )


async def _check_chats(state: BridgeState, rules: RoutesDocument) -> None:
    """Refuses rules that name a chat by a text if there is no such chat.

    Raises:
        Problem: 422, names the recipients; 503, Telegram was not reached.
    """
    places: dict[tuple[int | str, ...], NamedChat] = {
        ("body", "routes", rule, "to", number, "chat_id"): NamedChat(to.bot or DEFAULT, to.chat_id)
        for rule, written in enumerate(rules.routes)
        for number, to in enumerate(written.to)
        if isinstance(to.chat_id, str)
    }
    found = await state.chats.find(set(places.values())) if places else {}
    faults = [
        {"loc": place, "msg": found[name]} for place, name in places.items() if isinstance(found[name], str)
    ]
    if faults:
        raise invalid_input(faults)


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
