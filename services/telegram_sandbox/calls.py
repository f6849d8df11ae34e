"""One Bot API call: who called what, and how its outcome is recorded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from services.telegram_sandbox import refusals
from services.telegram_sandbox.arguments import Arguments
from services.telegram_sandbox.bots import Bot
from services.telegram_sandbox.chats import Chat, Message
from services.telegram_sandbox.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Held:
    """The server holds the request for flood control; `finish` does it when the time has come."""

    seconds: float
    chat: Chat
    finish: "Callable[[], Result]"


Result: TypeAlias = Any  # the JSON value of `result`, or an orjson.Fragment
Outcome: TypeAlias = Any  # a Result, a Held, or an awaitable of a Result
Method: TypeAlias = "Callable[[Call], Outcome]"


@dataclass(slots=True)
class Call:
    """A request on its way. `answer` tells what becomes of its answer: given, replaced, dropped or lost."""

    sandbox: Sandbox
    bot: Bot
    method: str
    args: Arguments
    answer: str = "given"
    held: float = 0.0
    charged: bool = False
    chat: Chat | None = field(default=None)

    @property
    def now(self) -> float:
        return self.sandbox.clock.now()

    def find_chat(self) -> Chat:
        """The chat of `chat_id`; it stays with the call for the log."""
        if self.bot.frozen and not self.method.startswith("get"):
            raise refusals.bad_request("FROZEN_METHOD_INVALID")
        self.chat = self.sandbox.chats.find(self.args.text("chat_id").strip())
        return self.chat

    def pace(self, chat: Chat, finish: Callable[[], Result], *, may_pay: bool = False) -> Outcome:
        """Run `finish` at once, or hold it for as long as the flood control says.

        With `may_pay` the method is one that `allow_paid_broadcast` is read for.
        """
        flood = self.sandbox.flood
        flood.guard(chat.unsent + 1, self.bot.active)
        pays = may_pay and self.args.flag("allow_paid_broadcast")
        slot = flood.admit(self.bot.id, chat.id, self.now, group=chat.is_group, pays=pays)
        self.charged = slot.charged
        return finish() if slot.wait <= 0 else Held(slot.wait, chat, finish)

    def delivered(self, chat: Chat, message: Message) -> Result:
        """Record a new or changed message, then keep it; the answer is its wire form, serialized once."""
        wire = orjson.Fragment(orjson.dumps(message.wire))
        self.log(status=200, message=message, wire=wire)
        if self.charged:
            self.bot.billed.append(int(self.now))
        self.sandbox.chats.keep(chat, message)
        return wire

    def refused(self, refusal: refusals.Refusal) -> None:
        self.log(status=refusal.status, description=refusal.description, retry_after=refusal.retry_after)

    def log(self, *, status: int, message: Message | None = None, wire: Any = None, **more: Any) -> None:
        """One line of the log, complete enough for a reader who knows nothing else."""
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
