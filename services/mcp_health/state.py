"""The objects that the routes of a running mcp-health use, injected by FastAPI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from services.mcp_health.audit import Auditor
from services.mcp_health.authority import Authority


@dataclass(frozen=True, slots=True)
class HealthState:
    authority: Authority
    auditor: Auditor

    def as_lifespan_state(self) -> Mapping[str, "HealthState"]:
        """Returns what the lifespan yields; :data:`InjectedState` reads it."""
        return {"health_state": self}


async def _state(connection: HTTPConnection) -> HealthState:
    state: HealthState = connection.state.health_state
    return state


InjectedState = Annotated[HealthState, Depends(_state)]
