"""The values of deduplication: events that are counted at an earlier one instead of stored. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DedupKey:
    """Events with an equal key are counted at the first one for a while, instead of stored.

    Args:
        client: name of the API key that posts them.
        name: the client's own.
        topics: of their messages, as a hash.
        window: how long, seconds.
    """

    client: str
    name: str
    topics: str
    window: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """The first event of a repeat.

    Args:
        event_id: of the first event.
        message_ids: of its messages.
        correlation_id: of the first event.
        traceparent: of the first event.
        type: of the first event.
        repeats: how often it was repeated by now.
    """

    event_id: str
    message_ids: tuple[str, ...]
    correlation_id: str
    traceparent: str
    type: str
    repeats: int


@dataclass(frozen=True, slots=True)
class Deduplication:
    """The dedup keys of a submission.

    Args:
        keys: of each event, by position; None: it has none.
        answered: makes the answer, JSON, where some events, by their positions, were repeats.
    """

    keys: tuple[DedupKey | None, ...]
    answered: Callable[[Mapping[int, Repeat]], str]
