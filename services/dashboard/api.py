"""What the page shows, over REST: for programs, and for the page's searches."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from services.dashboard.history import BUCKETS, History, Series
from services.dashboard.login import require_viewer
from services.dashboard.overview import State
from services.dashboard.pollers import Sources
from services.dashboard.readings import MessageLife, MessagePage
from services.kit.web.auth import bearer

router = APIRouter(prefix="/api", tags=["dashboard"], dependencies=[Depends(bearer), Depends(require_viewer)])


class MessageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=500)
    status: str | None = Field(None, pattern="^[a-z_]{1,32}$", description="a message state")
    q: str | None = Field(None, max_length=200, description="words of the title")
    since: str | None = Field(None, max_length=40, description="RFC 3339")
    until: str | None = Field(None, max_length=40, description="RFC 3339")
    cursor: str | None = Field(None, max_length=500, description="next_cursor of the page before")


@router.get("/state", summary="Levels, flow and links, each with the time of its measurement")
async def state(request: Request) -> State:
    sources: Sources = request.state.sources
    return sources.state()


@router.get("/history", summary="The last while in slices; null where nothing was measured")
async def history(
    request: Request,
    points: Annotated[int, Query(ge=1, le=BUCKETS, description="slices at most")] = BUCKETS,
    since: Annotated[float, Query(ge=0, allow_inf_nan=False, description="seconds since the epoch")] = 0.0,
) -> Series:
    remembered: History = request.state.history
    return remembered.series(points, since)


@router.get("/messages", summary="The bridge's messages, newest first")
async def messages(request: Request, query: Annotated[MessageQuery, Query()]) -> MessagePage:
    sources: Sources = request.state.sources
    return await sources.search(query.model_dump(exclude_none=True))


@router.get("/messages/{message_id}", summary="One message: every state and every attempt")
async def message(
    request: Request, message_id: Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]
) -> MessageLife:
    sources: Sources = request.state.sources
    return await sources.message(message_id)
