"""Pace of the chats of a bot, shared by all its senders: what every pace can do, and that of one process.

A chat's row has the tokens of one service only, and bridge and alert-relay have a row each. After a call a
sender takes a token of the shared pace as well, and sends nothing to the chat before that has one again. A
sender does not look before its call: it may be one message early, and then all wait longer. So an alert does
not wait for the messages of another service.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.outbox.rate_limit.limits import MINUTE, ChatTokens, Limits, after_send, is_group


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A call that sent to a chat, or tried to.

    Args:
        chat_id: of the chat.
        at: start of the call, seconds since the epoch.
    """

    chat_id: int
    at: float


class ChatPace(Protocol):
    """When the chats of a bot are open again, over all senders of the bot."""

    async def spend(self, calls: Sequence[ChatCall], limits: Limits, now: float) -> Mapping[int, float]:
        """Takes a token for each call.

        Args:
            calls: in the order of making them; of a chat at most one.
            limits: of the chats.
            now: seconds since the epoch.

        Returns:
            When each chat may be sent to again, seconds since the epoch; empty where that is not known.
        """


def is_limited(limits: Limits) -> bool:
    """Whether the limits of chats are on."""
    return limits.chat_per_second > 0 or limits.group_per_minute > 0


#: Chats that are kept in memory before full buckets are dropped for the first time.
SMALLEST = 1_000
#: A chat is forgotten so long after it is open: by Telegram's limits its buckets are full by then.
FORGET_SECONDS = MINUTE


@dataclass(slots=True)
class LocalChatPace:
    """A :class:`ChatPace` in the memory of this process. All services of the process use one object."""

    _chats: dict[int, ChatTokens] = field(default_factory=dict)
    _most: int = SMALLEST

    def __len__(self) -> int:
        """The chats that are kept."""
        return len(self._chats)

    async def spend(self, calls: Sequence[ChatCall], limits: Limits, now: float) -> Mapping[int, float]:
        if len(self._chats) > self._most:
            self._drop_full(now)
        found: dict[int, float] = {}
        for call in calls:
            full = ChatTokens(limits.chat_burst, limits.group_per_minute, call.at, call.at)
            before = self._chats.get(call.chat_id, full)
            # Senders report their calls late: this one may have begun before the last one did.
            at = max(call.at, before.sent_at)
            after = after_send(before, at, limits, group=is_group(call.chat_id))
            self._chats[call.chat_id] = after
            found[call.chat_id] = after.open_at
        return found

    def _drop_full(self, now: float) -> None:
        kept = {chat: one for chat, one in self._chats.items() if one.open_at + FORGET_SECONDS > now}
        self._chats, self._most = kept, max(SMALLEST, 2 * len(kept))
