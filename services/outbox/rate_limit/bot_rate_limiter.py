"""Rate limiter of a bot: free and paid tokens, since when they delay messages, and flood control."""

from dataclasses import dataclass

from services.outbox.messages import Lane
from services.outbox.rate_limit.bot_bucket import Bucket

#: Longest pause of a whole bot after which other chats are tried again.
LONGEST_PAUSE_SECONDS = 300.0
#: A longer wait is a chat's own: Telegram refuses a whole bot for seconds or minutes, rarely hours.
LONGEST_WAIT_SECONDS = 21_600.0


@dataclass(frozen=True, slots=True)
class Granted:
    """How many messages may go now.

    Args:
        free: of any lane.
        paid: further ones, of the bulk lane only.
    """

    free: int
    paid: int = 0

    @property
    def all(self) -> int:
        return self.free + self.paid


class BotRateLimiter:
    """A bot's free bucket, and for its bulk lane a second one whose messages cost Telegram Stars.

    Args:
        free: bucket of all lanes.
        paid: bucket of the bulk lane beyond that; None: the bot pays for nothing.
    """

    def __init__(self, free: Bucket, paid: Bucket | None = None) -> None:
        self._free = free
        self._paid = paid

    async def reserve(self, count: int) -> Granted:
        free = await self._free.reserve(count)
        if self._paid is None or free == count:
            return Granted(free)
        return Granted(free, await self._paid.reserve(count - free))

    async def give_back(self, granted: Granted, used: int, bulk: int) -> None:
        """Returns the tokens that a claim did not need. Bulk uses paid tokens first.

        Args:
            granted: by :meth:`reserve`.
            used: messages that were claimed.
            bulk: how many of these are of the bulk lane.
        """
        paid = max(min(granted.paid, bulk), used - granted.free)
        await self._free.give_back(granted.free - (used - paid))
        if self._paid is not None:
            await self._paid.give_back(granted.paid - paid)

    async def pause(self, seconds: float) -> None:
        """Grants nothing for this long, neither free nor paid."""
        await self._free.pause(seconds)
        if self._paid is not None:
            await self._paid.pause(seconds)

    def wait_seconds(self) -> float:
        """Returns the seconds until a message of any lane may go."""
        return self._free.wait_seconds()


@dataclass(frozen=True, slots=True)
class LimitedSince:
    """Since when the bot's rate limit delays messages, seconds since the epoch; None: it does not.

    Args:
        bulk: of the bulk lane.
        others: of the other lanes.
    """

    bulk: float | None = None
    others: float | None = None

    def of(self, lane: Lane) -> float | None:
        return self.bulk if lane is Lane.BULK else self.others

    def after_reserve(self, granted: Granted, now: float) -> "LimitedSince":
        """Starts a delay for each lane that got no token. Free and paid tokens serve bulk."""
        return LimitedSince(
            self.bulk if granted.all or self.bulk is not None else now,
            self.others if granted.free or self.others is not None else now,
        )

    def after_claim(self, granted: Granted, used: int, bulk: int) -> "LimitedSince":
        """Ends the delay of each lane that left tokens unused: no further message of it waits."""
        return LimitedSince(
            None if used < granted.all else self.bulk,
            None if used - bulk < granted.free else self.others,
        )


NOT_LIMITED = LimitedSince()


class FloodControl:
    """Decides whether Telegram's 429 is about one chat or about the bot, which the answer does not state."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def refused(self, chat_id: int, *, until: float, now: float) -> float | None:
        """Records a 429 for a chat; returns until when the bot must pause, None if it need not.

        The bot pauses when a second chat is refused at the same time, for the shortest of their waits and at
        most :data:`LONGEST_PAUSE_SECONDS`: chats that are refused for hours must not delay the others.
        """
        self._until = {chat: at for chat, at in self._until.items() if at > now}
        if until > now + LONGEST_WAIT_SECONDS:
            return None
        self._until[chat_id] = until
        if len(self._until) < 2:  # noqa: PLR2004 - one chat
            return None
        return min(*self._until.values(), now + LONGEST_PAUSE_SECONDS)
