"""The objects that the routes of a running alert-relay use, injected by FastAPI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from services.alert_relay.channels.configuration import ChannelConfiguration
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.alert_relay.notifications.recipients import Recipients
from services.alert_relay.relay import Relay
from services.kit.clock import Clock
from services.kit.database.connect import Database


@dataclass(frozen=True, slots=True)
class RelayState:
    relay: Relay
    database: Database
    clusters: tuple[ClusterConfiguration, ...]  #: of the settings
    recipients: Recipients
    channels: ChannelConfiguration
    clock: Clock

    def as_lifespan_state(self) -> Mapping[str, "RelayState"]:
        """Returns what the lifespan yields; :data:`InjectedState` reads it."""
        return {"relay_state": self}


async def _state(connection: HTTPConnection) -> RelayState:
    state: RelayState = connection.state.relay_state
    return state


InjectedState = Annotated[RelayState, Depends(_state)]
