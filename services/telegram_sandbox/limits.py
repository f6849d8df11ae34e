"""Telegram's flood control: how long a message must wait, and when the answer is 429 instead.

Facts: about one message a second in a chat with a small burst, 20 a minute in a group, 30 a second for a bot
(core.telegram.org/bots/faq). The server itself waits, up to eight seconds, before it answers 429 (TDLib,
NetQueryDelayer), and refuses at once when a chat has more than 310 unsent messages or a bot more than 1000
requests under way (telegram-bot-api, Client.cpp).
"""

import math
from collections import deque
from dataclasses import dataclass

from services.telegram_sandbox import refusals

MINUTE = 60.0  # seconds
GUARD_RETRY_AFTER = 60  # seconds, what the server's own guards ask for
GUARD_PAUSE = 3.0  # seconds that the server waits before a guard's answer


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers, each settable; `enabled` switches all of them off at once."""

    enabled: bool = True
    chat_per_second: float = 1.0
    chat_burst: int = 3
    group_per_minute: int = 20
    bot_per_second: int = 30
    paid_per_second: int = 1_000
    hold_seconds: float = 8.0
    unsent_per_chat: int = 310
    active_requests: int = 1000


@dataclass(frozen=True, slots=True)
class Slot:
    """When a message may go.

    Args:
        wait: seconds until then.
        charged: whether it is one that costs Stars, beyond what is free.
    """

    wait: float
    charged: bool = False


class FloodControl:
    """Slots already given away, per bot and chat. `admit` either reserves one or raises the 429."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._chats: dict[tuple[int, int], float] = {}
        self._groups: dict[tuple[int, int], deque[float]] = {}
        self._bots: dict[int, deque[float]] = {}
        self._paid: dict[int, deque[float]] = {}

    def change(self, limits: Limits) -> None:
        """Take new numbers and forget what was sent under the old ones."""
        self.limits = limits
        self._chats.clear()
        self._groups.clear()
        self._bots.clear()
        self._paid.clear()

    def admit(self, bot_id: int, chat_id: int, now: float, *, group: bool, pays: bool = False) -> Slot:
        """When this message may go, its slot reserved.

        With ``pays`` (`allow_paid_broadcast`) a message that finds no free slot of its bot takes a paid one;
        the limits of the chat are the same.

        Raises:
            Refusal: 429 with `retry_after`, when the wait is longer than the server would hold the request.
        """
        limits = self.limits
        if not limits.enabled:
            return Slot(0.0)
        chat_slot = self._chat_slot((bot_id, chat_id), now)
        bot_window = self._bots.setdefault(bot_id, deque(maxlen=limits.bot_per_second))
        charged = pays and _free_at(bot_window, 1.0, now) > now
        if charged:
            bot_window = self._paid.setdefault(bot_id, deque(maxlen=limits.paid_per_second))
        slots = [chat_slot, _free_at(bot_window, 1.0, now)]
        if group:
            group_window = self._groups.setdefault((bot_id, chat_id), deque(maxlen=limits.group_per_minute))
            slots.append(_free_at(group_window, MINUTE, now))
        wait = max(slots) - now
        if wait > limits.hold_seconds:
            raise refusals.too_many(max(1, math.ceil(wait)))
        self._reserve_chat((bot_id, chat_id), chat_slot)
        bot_window.append(slots[1])
        if group:
            group_window.append(slots[2])
        return Slot(wait, charged)

    def guard(self, unsent: int, active: int) -> None:
        """Refuse what the server's own guards refuse, whatever the flood control says."""
        limits = self.limits
        if limits.enabled and (unsent > limits.unsent_per_chat or active > limits.active_requests):
            raise refusals.too_many(GUARD_RETRY_AFTER, pause=GUARD_PAUSE)

    def _chat_slot(self, key: tuple[int, int], now: float) -> float:
        """When the chat takes its next message: one each interval, `chat_burst` of them ahead of time."""
        interval = 1.0 / self.limits.chat_per_second
        return max(now, self._chats.get(key, 0.0) - (self.limits.chat_burst - 1) * interval)

    def _reserve_chat(self, key: tuple[int, int], slot: float) -> None:
        self._chats[key] = max(self._chats.get(key, 0.0), slot) + 1.0 / self.limits.chat_per_second


def _free_at(window: deque[float], seconds: float, now: float) -> float:
    """When a sliding window of `maxlen` messages in `seconds` has room again."""
    if len(window) < (window.maxlen or 0):
        return now
    return max(now, window[0] + seconds)
