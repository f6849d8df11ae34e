"""The objects that the routes of a running dashboard use, injected by FastAPI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from services.dashboard.history import History
from services.dashboard.hub import Hub
from services.dashboard.login import Authenticator, Logins
from services.dashboard.page_files import PageFiles
from services.dashboard.pollers import Pollers
from services.kit.errors import Problem
from services.kit.web.auth import BearerAuth


@dataclass(frozen=True, slots=True)
class DashboardState:
    pollers: Pollers
    history: History
    hub: Hub
    authenticator: Authenticator
    logins: Logins
    page_files: PageFiles

    def as_lifespan_state(self) -> Mapping[str, "DashboardState"]:
        """Returns what the lifespan yields; :data:`InjectedState` reads it."""
        return {"dashboard_state": self}


async def _state(connection: HTTPConnection) -> DashboardState:
    state: DashboardState = connection.state.dashboard_state
    return state


InjectedState = Annotated[DashboardState, Depends(_state)]


async def require_viewer(request: Request, service: InjectedState) -> None:
    """Dependency that admits a session cookie, or a program with the suite's bearer key.

    Raises:
        Problem: 401 without both, 429 for a blocked address.
    """
    if service.authenticator.admits(request):
        return
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise Problem(
            401, "Not authorized", "Log in at /login, or send `Authorization: Bearer KEY`.", headers=_BEARER
        )
    auth: BearerAuth = request.app.state.bearer_auth
    auth.authenticate(authorization, request)


_BEARER = {"WWW-Authenticate": "Bearer"}
