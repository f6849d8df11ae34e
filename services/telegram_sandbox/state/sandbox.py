"""The sandbox as a whole: its parts, and operations on more than one of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from services.telegram_sandbox import errors
from services.telegram_sandbox.clock import SandboxClock
from services.telegram_sandbox.faults import Faults
from services.telegram_sandbox.flood_control import FloodControl, Limits
from services.telegram_sandbox.state.bots import Bot, Bots, Webhook
from services.telegram_sandbox.state.chats import Chat, Chats
from services.telegram_sandbox.state.event_log import EventLog
from services.telegram_sandbox.state.files import Files
from services.telegram_sandbox.state.update_queue import Update

CHAT_STATE = tuple(f.name for f in fields(Chat) if f.name not in {"messages", "unsent"})


@dataclass(slots=True)
class Tap:
    """A tap that waits for answerCallbackQuery."""

    bot_id: int
    chat_id: int
    message_id: int
    expires: float


@dataclass(slots=True)
class Sandbox:
    """The parts that methods and routes work on."""

    clock: SandboxClock
    bots: Bots
    chats: Chats
    flood: FloodControl
    faults: Faults
    event_log: EventLog
    files: Files
    initial_limits: Limits
    taps: dict[str, Tap] = field(default_factory=dict)
    on_update: Callable[[Bot], None] = field(default=lambda _bot: None)  #: set by the webhook sender

    def record(self, kind: str, **entry: Any) -> int:
        return self.event_log.append({"time": self.clock.now(), "kind": kind, **entry})

    def push(self, bot: Bot, kind: str, payload: dict[str, Any], *, lane: int) -> Update | None:
        """Queues an update and wakes the bot's poll or webhook; None if the bot does not accept it."""
        update = bot.queue.push(kind, payload, self.clock.now(), lane=lane)
        if update is None:
            return None
        self.record("update", bot=bot.id, update=update.wire(), expires=update.expires, lane=lane)
        self.wake(bot)
        return update

    def push_all(self, kind: str, payload: dict[str, Any], *, lane: int) -> list[Update]:
        pushed = [self.push(bot, kind, payload, lane=lane) for bot in self.bots]
        return [update for update in pushed if update is not None]

    def wake(self, bot: Bot, error: errors.BotApiError | None = None) -> None:
        """Ends the waiting long poll, with its updates or with an error."""
        if bot.poll is not None and not bot.poll.done():
            bot.poll.set_result(error)
        self.on_update(bot)

    def confirm(self, bot: Bot, offset: int) -> None:
        if (count := bot.queue.confirm(offset)) > 0:
            self.record("confirmed", bot=bot.id, offset=offset, count=count)

    def set_webhook(self, bot: Bot, webhook: Webhook | None) -> None:
        bot.webhook = webhook
        shown = {name: getattr(webhook, name) for name in Webhook.__slots__} if webhook else None
        self.record("webhook", bot=bot.id, webhook=shown)
        self.on_update(bot)

    def add_chat(self, chat: Chat) -> Chat:
        self.chats.add(chat)
        self.chat_changed(chat, "created")
        return chat

    def chat_changed(self, chat: Chat, event: str, **details: Any) -> None:
        """Logs a chat's new state."""
        state = {name: getattr(chat, name) for name in CHAT_STATE}
        state["closed_topics"] = sorted(chat.closed_topics)
        self.record("chat", chat_id=chat.id, event=event, chat=_keys_as_text(state), **details)


def _keys_as_text(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"topics": {str(number): name for number, name in state["topics"].items()}}
