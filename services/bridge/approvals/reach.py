"""Reach: how many chats show the question of an approval. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.outbox.messages import FINISHED, MessageState

#: The final states of a message that was not delivered.
_NOT_DELIVERED = frozenset(
    {
        MessageState.DEAD_LETTER,
        MessageState.SUPPRESSED,
        MessageState.EXPIRED,
        MessageState.CANCELLED,
    }
)


@dataclass(frozen=True, slots=True)
class Asking:
    """A message that asks.

    Args:
        chat_id: the chat.
        state: of the message; None: it was archived, and its state is not known.
        possible_duplicate: whether the answer to an attempt was lost.
        reason: why its last attempt failed, or why it ended; ``none``.
    """

    chat_id: int
    state: MessageState | None
    possible_duplicate: bool
    reason: str

    @property
    def may_be_shown(self) -> bool:
        return self.possible_duplicate or self.state is MessageState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a question has come.

    Args:
        visible_in: number of chats in which it was delivered; None: the messages were archived.
        perhaps_visible_in: number of further chats in which it may be; None likewise.
        undelivered: whether every message has ended undelivered, and none may be in its chat all the same.
        waits: whether a message may still be delivered.
        why: the reasons of the messages that were not delivered, with commas.
    """

    visible_in: int | None
    perhaps_visible_in: int | None
    undelivered: bool
    waits: bool
    why: str


def reach(asking: Iterable[Asking]) -> Reach:
    """How far a question has come, by the messages that ask it."""
    found = list(asking)
    archived = any(one.state is None for one in found)
    shown = {one.chat_id for one in found if one.state is MessageState.DELIVERED}
    perhaps = {one.chat_id for one in found if one.may_be_shown} - shown
    ended = [one for one in found if one.state in _NOT_DELIVERED]
    reasons = {one.state.value if one.reason == "none" and one.state else one.reason for one in ended}
    return Reach(
        None if archived else len(shown),
        None if archived else len(perhaps),
        undelivered=bool(found) and len(ended) == len(found) and not perhaps,
        waits=any(one.state is not None and one.state not in FINISHED for one in found),
        why=", ".join(sorted(reasons)),
    )
