"""A bot's queue of updates: at most 100 000, each with a lifetime, confirmed by offset. Pure.

Sources (telegram-bot-api Client.cpp, TDLib TQueue.cpp): taps expire after 150 s, other updates after 24 h. An
offset confirms and deletes all updates below it, a negative one all but the last n; one that is far too high
is ignored.
"""

from dataclasses import dataclass, field
from typing import Any

TAP_LIFETIME = 150.0  # seconds
UPDATE_LIFETIME = 86_400.0  # seconds
QUEUE_CAP = 100_000
FUTURE_OFFSET_SLACK = 10  # so far beyond the last id an offset still counts
KNOWN = (
    "message edited_message channel_post edited_channel_post inline_query chosen_inline_result callback_query"
    " custom_event custom_query shipping_query pre_checkout_query poll poll_answer my_chat_member chat_member"
    " chat_join_request chat_boost removed_chat_boost message_reaction message_reaction_count"
    " business_connection business_message edited_business_message deleted_business_messages"
    " purchased_paid_media managed_bot guest_message"
)
KINDS = frozenset(KNOWN.split())
OPT_IN_KINDS = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@dataclass(frozen=True, slots=True)
class Update:
    """One update. Webhooks post updates of the same `lane` (a chat or a person) in order."""

    id: int
    kind: str
    payload: dict[str, Any]
    expires: float
    lane: int

    def wire(self) -> dict[str, Any]:
        return {"update_id": self.id, self.kind: self.payload}


@dataclass(slots=True)
class UpdateQueue:
    """Pending updates of one bot, oldest first. `allowed` None means all kinds except the opt-in ones."""

    next_id: int
    allowed: frozenset[str] | None = None
    pending: dict[int, Update] = field(default_factory=dict)

    def allow(self, kinds: frozenset[str]) -> None:
        """Sets `allowed_updates`; an empty list restores the default."""
        self.allowed = kinds or None

    def accepts(self, kind: str) -> bool:
        return kind not in OPT_IN_KINDS if self.allowed is None else kind in self.allowed

    def push(self, kind: str, payload: dict[str, Any], now: float, *, lane: int) -> Update | None:
        """Adds an update and returns it; None if the bot does not accept this kind, or the queue is full."""
        if not self.accepts(kind) or len(self.pending) >= QUEUE_CAP:
            return None
        lifetime = TAP_LIFETIME if kind == "callback_query" else UPDATE_LIFETIME
        update = Update(self.next_id, kind, payload, now + lifetime, lane)
        self.restore(update)
        return update

    def restore(self, update: Update) -> None:
        self.pending[update.id] = update
        self.next_id = max(self.next_id, update.id + 1)

    def confirm(self, offset: int) -> int:
        """Deletes the updates that `offset` confirms; returns their number."""
        if offset == 0 or offset > self.next_id + FUTURE_OFFSET_SLACK:
            return 0
        ids = list(self.pending)
        gone = ids[:offset] if offset < 0 else [number for number in ids if number < offset]
        for number in gone:
            del self.pending[number]
        return len(gone)

    def head(self, limit: int, now: float) -> list[Update]:
        """Returns the oldest `limit` updates; deletes expired ones."""
        for number in [update.id for update in self.pending.values() if update.expires <= now]:
            del self.pending[number]
        found: list[Update] = []
        for update in self.pending.values():
            if len(found) == limit:
                break
            found.append(update)
        return found
