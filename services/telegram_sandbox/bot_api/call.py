"""One Bot API call: its bot, method and parameters, its flood control, and its entry in the event log."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from services.telegram_sandbox import errors
from services.telegram_sandbox.bot_api.parameters import Parameters
from services.telegram_sandbox.state.bots import Bot
from services.telegram_sandbox.state.chats import Chat, Message
from services.telegram_sandbox.state.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call that waits for flood control. After `seconds`, `finish` runs it."""

    seconds: float
    chat: Chat
    finish: "Callable[[], Result]"


Result: TypeAlias = Any  # the JSON value of `result`, or an orjson.Fragment
Outcome: TypeAlias = Any  # a Result, a HeldCall, or an awaitable of a Result
Method: TypeAlias = "Callable[[Call], Outcome]"


@dataclass(slots=True)
class Call:
    """A request in progress. `answer` is what happens to its answer: given, replaced, dropped or lost."""

    sandbox: Sandbox
    bot: Bot
    method: str
    args: Parameters
    answer: str = "given"
    held: float = 0.0
    charged: bool = False
    chat: Chat | None = field(default=None)

    @property
    def now(self) -> float:
        return self.sandbox.clock.now()

    def find_chat(self) -> Chat:
        """Returns the chat of `chat_id`, and keeps it in `chat` for the log.

        Raises:
            BotApiError: there is no such chat, or the bot is frozen.
        """
        if self.bot.frozen and not self.method.startswith("get"):
            raise errors.bad_request("FROZEN_METHOD_INVALID")
        self.chat = self.sandbox.chats.find(self.args.text("chat_id"))
        return self.chat

    def rate_limited(self, chat: Chat, finish: Callable[[], Result], *, may_pay: bool = False) -> Outcome:
        """Runs `finish` now, or returns a held call if flood control requires a wait.

        Args:
            chat: gets the message.
            finish: does what the method does.
            may_pay: whether the method has the parameter `allow_paid_broadcast`.

        Raises:
            BotApiError: 429.
        """
        flood = self.sandbox.flood
        flood.guard(chat.unsent + 1, self.bot.active)
        pays = may_pay and self.args.flag("allow_paid_broadcast")
        slot = flood.admit(self.bot.id, chat.id, self.now, group=chat.is_group, pays=pays)
        self.charged = slot.charged
        return finish() if slot.wait <= 0 else HeldCall(slot.wait, chat, finish)

    def store(self, chat: Chat, message: Message) -> Result:
        """Logs and stores a new or changed message; returns its JSON."""
        wire = orjson.Fragment(orjson.dumps(message.wire))
        self.log(status=200, message=message, wire=wire)
        if self.charged:
            self.bot.billed.append(int(self.now))
        self.sandbox.chats.store(chat, message)
        return wire

    def log_error(self, error: errors.BotApiError) -> None:
        self.log(status=error.status, description=error.description, retry_after=error.retry_after)

    def log(self, *, status: int, message: Message | None = None, wire: Any = None, **more: Any) -> None:
        """Adds the call to the event log, with everything that a reader of the log needs."""
        args = self.args
        shown = message.wire if message is not None else args.values
        caption = "caption" if "text" not in shown else "text"
        entry: dict[str, Any] = {
            "bot": self.bot.id,
            "method": self.method,
            "chat_id": self.chat.id if self.chat is not None else args.chat_id,
            "thread_id": _number(shown.get("message_thread_id")),
            "message_id": message.id if message is not None else _number(args.values.get("message_id")),
            "text": shown.get(caption),
            "entities": shown.get("entities" if caption == "text" else "caption_entities"),
            "delivered": message is not None,
            "answer": self.answer,
            "status": status,
        }
        if self.held:
            entry["held"] = round(self.held, 3)
        if self.charged:
            entry["charged"] = True
        if message is not None:
            entry["silent"] = message.silent
            entry["message"] = wire
        self.sandbox.record("call", **entry, **more)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value
