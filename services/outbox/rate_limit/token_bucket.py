"""Pace: Telegram's rates as fractional tokens on a clock that never goes back.

A chat's tokens are in its row, since one worker at a time has the chat; the bot's are shared by
all who send for it. Pure but for `BotPace`, which keeps the bot's tokens in this process, `Rates` over it,
and `Floods`.
"""

import copy
from dataclasses import dataclass
from typing import Protocol

from services.kit.clock import Clock
from services.outbox.messages import Lane

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What Telegram lets pass (its FAQ; exact limits are unpublished and change, so 429 is obeyed too).

    Args:
        bot_per_second: messages a second of one bot, over all chats.
        chat_per_second: messages a second to one chat.
        chat_burst: how many may follow each other at once after a silence.
        group_per_minute: messages a minute to one group.
    """

    bot_per_second: float = 30.0
    chat_per_second: float = 1.0
    chat_burst: float = 3.0
    group_per_minute: float = 20.0


@dataclass(frozen=True, slots=True)
class ChatPace:
    """A chat's tokens after the last message, and when the next may go."""

    tokens: float
    group_tokens: float
    sent_at: float
    open_at: float


def after_send(pace: ChatPace, now: float, limits: Limits, *, group: bool) -> ChatPace:
    """Takes one token of each kind; ``open_at`` is the moment when there is one of each again."""
    tokens, wait = _take(pace.tokens, now - pace.sent_at, limits.chat_per_second, limits.chat_burst)
    per_second = limits.group_per_minute / MINUTE
    group_tokens, group_wait = (
        _take(pace.group_tokens, now - pace.sent_at, per_second, limits.group_per_minute)
        if group
        else (pace.group_tokens, 0.0)
    )
    return ChatPace(tokens, group_tokens, now, now + max(wait, group_wait))


def _take(tokens: float, elapsed: float, rate: float, burst: float) -> tuple[float, float]:
    """The tokens after one is taken, and the seconds until there is a whole one again."""
    if rate <= 0:
        return burst, 0.0
    # Time that goes back (a clock set, another machine's) gives nothing and takes nothing.
    left = min(burst, tokens + max(elapsed, 0.0) * rate) - 1.0
    return left, max(0.0, (1.0 - left) / rate)


def is_group(chat_id: int) -> bool:
    """Telegram numbers groups, supergroups and channels below zero."""
    return chat_id < 0


class Pace(Protocol):
    """The bot's rate, shared by all who send for it."""

    async def reserve(self, wanted: int) -> int: ...
    async def give_back(self, unused: int) -> None: ...
    async def pause(self, seconds: float) -> None: ...
    def wait_seconds(self) -> float: ...


@dataclass(slots=True)
class Tokens:
    """A bot's tokens on a monotonic clock."""

    left: float
    updated: float
    paused_until: float = 0.0


class BotPace:
    """The bot's own rate, for one process.

    Args:
        per_second: messages a second; 0 is no limit.
        clock: monotonic times are used.
        full: whether it starts with a second's worth of tokens, or with none.
    """

    def __init__(self, per_second: float, clock: Clock, *, full: bool = True) -> None:
        self._rate = per_second
        self._burst = max(1.0, per_second)
        self._clock = clock
        self._tokens = Tokens(self._burst if full else 0.0, clock.monotonic())
        self._leave = 0.0

    def leaving(self, tokens: float) -> "BotPace":
        """The same tokens, for one who lets others go first: the last so many are theirs."""
        behind = copy.copy(self)
        behind._leave = left_to_others(tokens, self._burst)  # noqa: SLF001 - of its own kind
        return behind

    async def reserve(self, wanted: int) -> int:
        """Takes up to ``wanted`` tokens; 0 when there is none now."""
        self._refill()
        if self._clock.monotonic() < self._tokens.paused_until:
            return 0
        if not self._rate:
            return wanted
        granted = max(0, min(wanted, int(self._tokens.left - self._leave)))
        self._tokens.left -= granted
        return granted

    async def give_back(self, unused: int) -> None:
        """Returns tokens that were reserved for messages that were not there."""
        self._tokens.left = min(self._burst, self._tokens.left + unused)

    async def pause(self, seconds: float) -> None:
        """Lets nothing pass for a while: Telegram refused the bot as a whole."""
        self._tokens.paused_until = max(self._tokens.paused_until, self._clock.monotonic() + seconds)

    def wait_seconds(self) -> float:
        """Seconds until a token is there."""
        self._refill()
        paused = self._tokens.paused_until - self._clock.monotonic()
        missing = (1.0 + self._leave - self._tokens.left) / self._rate if self._rate else 0.0
        return max(paused, missing, 0.0)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens.left = min(self._burst, self._tokens.left + (now - self._tokens.updated) * self._rate)
        self._tokens.updated = now


def left_to_others(tokens: float, burst: float) -> float:
    """How many tokens one can leave without never getting any: at a slow rate there is hardly one."""
    return min(tokens, burst - 1.0)


@dataclass(frozen=True, slots=True)
class Granted:
    """Messages that may go now: of any lane, and further ones of the bulk lane alone."""

    free: int
    paid: int = 0

    @property
    def all(self) -> int:
        return self.free + self.paid


class Rates:
    """A bot's rate, and for its bulk lane a further one that is paid for by the message.

    Args:
        free: what every lane shares.
        paid: beyond that, for bulk alone; None: nothing is paid for.
    """

    def __init__(self, free: Pace, paid: Pace | None = None) -> None:
        self._free = free
        self._paid = paid

    async def reserve(self, wanted: int) -> Granted:
        free = await self._free.reserve(wanted)
        if self._paid is None or free == wanted:
            return Granted(free)
        return Granted(free, await self._paid.reserve(wanted - free))

    async def give_back(self, granted: Granted, used: int, bulk: int) -> None:
        """Returns what was not needed of a grant; bulk is paid for first, so that others have the free ones.

        Args:
            granted: by :meth:`reserve`.
            used: messages that go now.
            bulk: how many of these are of the bulk lane.
        """
        paid = max(min(granted.paid, bulk), used - granted.free)
        await self._free.give_back(granted.free - (used - paid))
        if self._paid is not None:
            await self._paid.give_back(granted.paid - paid)

    async def pause(self, seconds: float) -> None:
        """Telegram refused the bot as a whole, whoever pays."""
        await self._free.pause(seconds)
        if self._paid is not None:
            await self._paid.pause(seconds)

    def wait_seconds(self) -> float:
        """Seconds until a message of any lane may go."""
        return self._free.wait_seconds()


@dataclass(frozen=True, slots=True)
class PacedSince:
    """Since when the bot's rate has held messages up, seconds since the epoch; None: it does not."""

    bulk: float | None = None
    others: float | None = None

    def of(self, lane: Lane) -> float | None:
        return self.bulk if lane is Lane.BULK else self.others

    def asked(self, granted: Granted, now: float) -> "PacedSince":
        """After the rates were asked for room: bulk is held up where nothing can be paid for either."""
        return PacedSince(
            self.bulk if granted.all or self.bulk is not None else now,
            self.others if granted.free or self.others is not None else now,
        )

    def claimed(self, granted: Granted, used: int, bulk: int) -> "PacedSince":
        """After a claim: where there was room for more, nothing more waited."""
        return PacedSince(
            None if used < granted.all else self.bulk,
            None if used - bulk < granted.free else self.others,
        )


NOT_PACED = PacedSince()


class Floods:
    """Which chats Telegram refuses for now; a reply does not say whether it means the chat or the bot."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def told(self, chat_id: int, *, until: float, now: float) -> float | None:
        """Notes a refusal; answers until when the bot should pause, if a second chat is refused as well.

        That is the shortest of their waits: a chat that is refused for hours holds up nobody else.
        """
        self._until = {chat: at for chat, at in self._until.items() if at > now}
        self._until[chat_id] = until
        return min(self._until.values()) if len(self._until) > 1 else None
