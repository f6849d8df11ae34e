"""Telegram's flood control: how long a message must wait, and when the answer is 429. Pure.

Sources: about one message a second in a chat with a small burst, 20 a minute in a group, 30 a second for a
bot (core.telegram.org/bots/faq). The server waits up to eight seconds before it answers 429 (TDLib,
NetQueryDelayer). It refuses at once if a chat has more than 310 unsent messages or a bot more than 1000
active requests (telegram-bot-api, Client.cpp).
"""

import math
from collections import deque
from dataclasses import dataclass

from services.telegram_sandbox import errors

MINUTE = 60.0  # seconds
GUARD_RETRY_AFTER = 60  # seconds, `retry_after` of the server's own guards
GUARD_DELAY = 3.0  # seconds by which the server delays a guard's answer


@dataclass(frozen=True, slots=True)
class Limits:
    """Telegram's limits; `enabled` is False if none applies."""

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
    """The time at which a message may be sent.

    Args:
        wait: seconds until then.
        charged: whether it costs Stars, because it is above the free rate.
    """

    wait: float
    charged: bool = False


class FloodControl:
    """The reserved slots of each bot and chat. `admit` reserves another one or raises the 429."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._chats: dict[tuple[int, int], float] = {}
        self._groups: dict[tuple[int, int], deque[float]] = {}
        self._bots: dict[int, deque[float]] = {}
        self._paid: dict[int, deque[float]] = {}

    def change(self, limits: Limits) -> None:
        """Replaces the limits and forgets all reserved slots."""
        self.limits = limits
        self._chats.clear()
        self._groups.clear()
        self._bots.clear()
        self._paid.clear()

    def admit(self, bot_id: int, chat_id: int, now: float, *, group: bool, pays: bool = False) -> Slot:
        """Reserves the next slot of a message.

        With ``pays`` (`allow_paid_broadcast`) a message takes a paid slot if its bot has no free one; the
        limits of the chat stay the same.

        Raises:
            BotApiError: 429 with `retry_after`, the wait is longer than the server holds a request.
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
            raise errors.too_many_requests(max(1, math.ceil(wait)))
        self._reserve_chat((bot_id, chat_id), chat_slot)
        bot_window.append(slots[1])
        if group:
            group_window.append(slots[2])
        return Slot(wait, charged)

    def guard(self, unsent: int, active: int) -> None:
        """Checks the server's own guards, which apply beside flood control.

        Raises:
            BotApiError: 429.
        """
        limits = self.limits
        if limits.enabled and (unsent > limits.unsent_per_chat or active > limits.active_requests):
            raise errors.too_many_requests(GUARD_RETRY_AFTER, delay=GUARD_DELAY)

    def _chat_slot(self, key: tuple[int, int], now: float) -> float:
        """The chat's next free slot: one each interval, of which `chat_burst` may be used early."""
        interval = 1.0 / self.limits.chat_per_second
        return max(now, self._chats.get(key, 0.0) - (self.limits.chat_burst - 1) * interval)

    def _reserve_chat(self, key: tuple[int, int], slot: float) -> None:
        self._chats[key] = max(self._chats.get(key, 0.0), slot) + 1.0 / self.limits.chat_per_second


def _free_at(window: deque[float], seconds: float, now: float) -> float:
    """When a sliding window of `maxlen` messages in `seconds` has room."""
    if len(window) < (window.maxlen or 0):
        return now
    return max(now, window[0] + seconds)
