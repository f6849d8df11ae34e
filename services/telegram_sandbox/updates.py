"""A bot's queue of updates: at most 100 000, each with its own life span, confirmed by offset.

Facts (telegram-bot-api Client.cpp, TDLib TQueue.cpp): taps live 150 s, everything else here 24 h; an offset
confirms and deletes all below it; a negative one keeps only the last n; one far ahead restarts at the head.
"""

from dataclasses import dataclass, field
from typing import Any

TAP_LIFE = 150.0  # seconds
UPDATE_LIFE = 86_400.0  # seconds
QUEUE_CAP = 100_000
FUTURE_OFFSET_SLACK = 10  # ids past the tail that still count as an offset
ON_REQUEST_ONLY = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@dataclass(frozen=True, slots=True)
class Update:
    """One update as it is sent; `lane` keeps the order inside a chat when webhooks run in parallel."""

    id: int
    kind: str
    payload: dict[str, Any]
    expires: float
    lane: int

    def wire(self) -> dict[str, Any]:
        return {"update_id": self.id, self.kind: self.payload}


@dataclass(slots=True)
class UpdateQueue:
    """Pending updates of one bot, oldest first. `allowed` None means all but the ones to ask for by name."""

    next_id: int
    allowed: frozenset[str] | None = None
    pending: dict[int, Update] = field(default_factory=dict)

    def allow(self, kinds: frozenset[str]) -> None:
        """Remember `allowed_updates`; an empty list asks for the default again."""
        self.allowed = kinds or None

    def takes(self, kind: str) -> bool:
        return kind not in ON_REQUEST_ONLY if self.allowed is None else kind in self.allowed

    def push(self, kind: str, payload: dict[str, Any], now: float, *, lane: int) -> Update | None:
        """Add an update and return it; None when the bot did not ask for this kind, or the queue is full."""
        if not self.takes(kind) or len(self.pending) >= QUEUE_CAP:
            return None
        life = TAP_LIFE if kind == "callback_query" else UPDATE_LIFE
        update = Update(self.next_id, kind, payload, now + life, lane)
        self.restore(update)
        return update

    def restore(self, update: Update) -> None:
        self.pending[update.id] = update
        self.next_id = max(self.next_id, update.id + 1)

    def confirm(self, offset: int) -> int:
        """Delete what `offset` confirms. Returns how many updates that were."""
        if offset == 0 or offset > self.next_id + FUTURE_OFFSET_SLACK:
            return 0
        ids = list(self.pending)
        gone = ids[:offset] if offset < 0 else [number for number in ids if number < offset]
        for number in gone:
            del self.pending[number]
        return len(gone)

    def head(self, limit: int, now: float) -> list[Update]:
        """The oldest `limit` updates that are still alive; expired ones are dropped."""
        for number in [update.id for update in self.pending.values() if update.expires <= now]:
            del self.pending[number]
        found: list[Update] = []
        for update in self.pending.values():
            if len(found) == limit:
                break
            found.append(update)
        return found
