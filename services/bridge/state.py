"""The typed state of the running bridge, and the key of a request, as dependencies of the routes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from services.bridge.approvals.from_event import EventApprovals
from services.bridge.bots import Bot
from services.bridge.chats.directory import ChatDirectory
from services.bridge.events.mappings import Mappings
from services.bridge.events.template_folder import TemplateFolder
from services.bridge.events.templates import Templates
from services.bridge.inbound import Inbound
from services.bridge.keys import keys
from services.bridge.keys.authenticate import Authenticator
from services.bridge.keys.keys import Key
from services.bridge.routes.active_routes import ActiveRoutes
from services.bridge.settings import BridgeSettings
from services.bridge.tracking.lifespan import Tracking
from services.bridge.tracking.totals import TotalsCounter
from services.kit.clock import Clock
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import Outbox
from services.outbox.files.store import FileStore


@dataclass(frozen=True, slots=True)
class BridgeState:
    """The parts that exist while the bridge runs; their types say what each one does."""

    settings: BridgeSettings
    clock: Clock
    telemetry: Telemetry
    outbox: Outbox
    bots: Mapping[str, Bot]
    template_folder: TemplateFolder | None
    mappings: Mappings
    asks: EventApprovals
    chats: ChatDirectory
    authenticator: Authenticator
    active_routes: ActiveRoutes
    inbound: Inbound
    tracking: Tracking
    totals: TotalsCounter
    files: FileStore

    @property
    def templates(self) -> Templates | None:
        """The operator's templates."""
        return self.template_folder.templates if self.template_folder else None


#: Key of the state in the ASGI scope.
NAME = "bridge"


async def state_of(request: Request) -> BridgeState:
    """The state of the bridge that handles the request."""
    state: BridgeState = request.scope["state"][NAME]
    return state


State = Annotated[BridgeState, Depends(state_of)]


async def admitted(request: Request, state: State) -> Key:
    """Authenticates a request by its bearer key; every route that is not public depends on it.

    Raises:
        Problem: 401 without a valid key, 403 without the route's scope, 429 over the key's rate.
    """
    scope = keys.scope_needed(request.method, request.url.path)
    return await state.authenticator.by_key(request.headers.get("authorization"), request, scope)


#: The API key of the request.
CallerKey = Annotated[Key, Depends(admitted)]
