"""The typed state of the running bridge, which the routes read, and who makes a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from services.bridge.bots import Bot
from services.bridge.events.accept import Asks
from services.bridge.events.templates import Templates
from services.bridge.inbound import Inbound
from services.bridge.keys import keys
from services.bridge.keys.authenticate import Authenticator
from services.bridge.keys.keys import Key
from services.bridge.routes.active_routes import ActiveRoutes
from services.bridge.settings import BridgeSettings
from services.bridge.tracking.lifespan import Tracking
from services.kit.clock import Clock
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import Outbox


@dataclass(frozen=True, slots=True)
class BridgeState:
    """What exists for as long as the bridge runs; see the types for what each part does."""

    settings: BridgeSettings
    clock: Clock
    telemetry: Telemetry
    outbox: Outbox
    bots: Mapping[str, Bot]
    templates: Templates | None
    asks: Asks
    authenticator: Authenticator
    active_routes: ActiveRoutes
    inbound: Inbound
    tracking: Tracking


#: The name of the state in the ASGI scope.
NAME = "bridge"


async def state_of(request: Request) -> BridgeState:
    state: BridgeState = request.scope["state"][NAME]
    return state


State = Annotated[BridgeState, Depends(state_of)]


async def admitted(request: Request, state: State) -> Key:
    """Admits a request by its bearer key; the dependency of every route that is not public.

    Raises:
        Problem: 401 without a valid key, 403 without the route's scope, 429 over the key's rate.
    """
    scope = keys.scope_needed(request.method, request.url.path)
    return state.authenticator.by_key(request.headers.get("authorization"), request, scope)


#: The key of the request.
CallerKey = Annotated[Key, Depends(admitted)]
