"""The dashboard's data over REST and WebSocket: for the page, and for programs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, WebSocket
from pydantic import BaseModel, ConfigDict, Field

from services.contracts.fields import Words
from services.contracts.messages import MessageHistory, Page
from services.dashboard.history import BUCKETS, Series
from services.dashboard.hub import NOT_LOGGED_IN, ConnectedPage
from services.dashboard.login import COOKIE
from services.dashboard.overview import Overview
from services.dashboard.state import InjectedState, require_viewer
from services.kit.field_errors import ErrorText
from services.kit.web.auth import bearer
from services.kit.web.origin import same_origin

router = APIRouter(prefix="/api", tags=["dashboard"], dependencies=[Depends(bearer), Depends(require_viewer)])
websocket_router = APIRouter()
A_MESSAGE_ID = ErrorText("write the ID of a message")


class MessageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=500)
    status: (
        Annotated[str, Field(pattern="^[a-z_]{1,32}$"), ErrorText("write a state such as delivered")] | None
    ) = Field(None, description="a message state")
    q: Words | None = Field(None, description="words of the title")
    since: Words | None = Field(None, description="earliest time of acceptance, RFC 3339")
    until: Words | None = Field(None, description="latest time of acceptance, RFC 3339")
    cursor: Words | None = Field(None, description="`next_cursor` of the previous page")


@router.get("/state", summary="Levels, flow and links, each with the time of its measurement")
async def state(service: InjectedState) -> Overview:
    """Returns what the page shows; values that were not measured are null."""
    return service.pollers.overview()


@router.get("/history", summary="Numbers of the last hour in time slices")
async def history(
    service: InjectedState,
    points: Annotated[int, Query(ge=1, le=BUCKETS, description="largest number of slices")] = BUCKETS,
    since: Annotated[float, Query(ge=0, le=1e12, description="start, seconds since the epoch")] = 0.0,
) -> Series:
    """Returns columns of equal length; null where nothing was measured."""
    return service.history.series(points, since)


@router.get("/messages", summary="The bridge's messages, newest first")
async def messages(service: InjectedState, query: Annotated[MessageQuery, Query()]) -> Page:
    """Searches the bridge's messages."""
    return await service.pollers.search(query.model_dump(exclude_none=True))


@router.get("/messages/{message_id}", summary="One message: every state and every attempt")
async def message(
    service: InjectedState, message_id: Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$"), A_MESSAGE_ID]
) -> MessageHistory:
    """Returns the history of a message of the bridge."""
    return await service.pollers.message(message_id)


@websocket_router.websocket("/api/live")
async def live(socket: WebSocket, service: InjectedState) -> None:
    """Sends updates as JSON text: ``state`` always, ``history`` and ``recent`` when they change."""
    if not same_origin(socket):
        await socket.close(1008)
        return
    await socket.accept()
    session = service.authenticator.session(socket.cookies.get(COOKIE))
    if service.authenticator.enabled and session is None:
        await socket.close(NOT_LOGGED_IN)
        return
    await service.hub.serve(socket, ConnectedPage(session))
