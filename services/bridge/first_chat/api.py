"""The bots over REST: their names, and the chats that get an event which names none."""

from fastapi import APIRouter

from services.bridge.state import State
from services.contracts.chats import Bots, BotView

router = APIRouter(prefix="/api/v1/bots", tags=["chats"])


@router.get("", summary="List the bots and their default chats")
async def listed(state: State) -> Bots:
    """A bot without chats waits for its first one: the bridge's log shows how to choose it."""
    items = [
        BotView(name=bot.name, chat_ids=list(bot.chats), people=len(bot.allowed))
        for bot in state.bots.values()
    ]
    return Bots(items=items)
