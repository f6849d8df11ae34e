"""The sandbox as a whole: its parts, and the few verbs that touch more than one of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from services.telegram_sandbox import refusals
from services.telegram_sandbox.bots import Bot, Bots, Webhook
from services.telegram_sandbox.chats import Chat, Chats
from services.telegram_sandbox.clock import SandboxClock
from services.telegram_sandbox.faults import Faults
from services.telegram_sandbox.files import Files
from services.telegram_sandbox.journal import Journal
from services.telegram_sandbox.limits import FloodControl, Limits
from services.telegram_sandbox.updates import Update

CHAT_STATE = tuple(f.name for f in fields(Chat) if f.name not in {"messages", "unsent"})


@dataclass(slots=True)
class Tap:
    """A button that was tapped and waits for answerCallbackQuery."""

    bot_id: int
    chat_id: int
    message_id: int
    expires: float


@dataclass(slots=True)
class Sandbox:
    """Everything that the routes work on."""

    clock: SandboxClock
    bots: Bots
    chats: Chats
    flood: FloodControl
    faults: Faults
    journal: Journal
    files: Files
    first_limits: Limits
    taps: dict[str, Tap] = field(default_factory=dict)
    on_update: Callable[[Bot], None] = field(default=lambda _bot: None)  #: set by the webhook sender

    def record(self, kind: str, **entry: Any) -> int:
        return self.journal.append({"time": self.clock.now(), "kind": kind, **entry})

    def push(self, bot: Bot, kind: str, payload: dict[str, Any], *, lane: int) -> Update | None:
        """Queue an update for one bot and wake whoever waits for it."""
        update = bot.queue.push(kind, payload, self.clock.now(), lane=lane)
        if update is None:
            return None
        self.record("update", bot=bot.id, update=update.wire(), expires=update.expires, lane=lane)
        self.wake(bot)
        return update

    def push_all(self, kind: str, payload: dict[str, Any], *, lane: int) -> list[Update]:
        pushed = [self.push(bot, kind, payload, lane=lane) for bot in self.bots]
        return [update for update in pushed if update is not None]

    def wake(self, bot: Bot, refusal: refusals.Refusal | None = None) -> None:
        """End the long poll that waits, with its updates or with a refusal."""
        if bot.poll is not None and not bot.poll.done():
            bot.poll.set_result(refusal)
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
        """Record a chat's new state."""
        state = {name: getattr(chat, name) for name in CHAT_STATE}
        state["closed_topics"] = sorted(chat.closed_topics)
        self.record("chat", chat_id=chat.id, event=event, chat=_keys_as_text(state), **details)


def _keys_as_text(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"topics": {str(number): name for number, name in state["topics"].items()}}
