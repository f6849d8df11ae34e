"""Handler: what a service does with the updates of one of its bots, as a protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Submission
from services.updates.parse import ParsedUpdate
from services.updates.stored_updates.store import BotCall, StoredUpdate


@dataclass(frozen=True, slots=True)
class ReceivedUpdate:
    """One update, as it is handed to a handler.

    Args:
        stored: as it was stored.
        parsed: the same as a value.
        span: of its handling, the first of a new trace.
        now: seconds since the epoch.
    """

    stored: StoredUpdate
    parsed: ParsedUpdate
    span: TraceContext
    now: float


class Reaction(Protocol):
    """What follows from an update and is stored in its transaction; services add what is theirs."""

    @property
    def replies(self) -> Sequence[Submission]:
        """Messages, which the outbox sends."""

    @property
    def bot_calls(self) -> Sequence[BotCall]:
        """Calls of the Bot API to make after the commit, beside the outbox."""


@dataclass(frozen=True, slots=True)
class ReactionSpan:
    """What the span of an update says of the reaction.

    Args:
        name: of the span.
        attributes: of the service.
        event_id: of the event that the update answers; None: none. If its trace is exported, so is the span.
        trace: of what the update answers; the span has a link to it.
    """

    name: str
    attributes: Mapping[str, str | bool] = field(default_factory=dict)
    event_id: str | None = None
    trace: TraceContext | None = None


ContextT = TypeVar("ContextT")
ReactionT = TypeVar("ReactionT", bound=Reaction)


class UpdateHandler(Protocol[ContextT, ReactionT]):
    """Handles the updates of one bot, one after the other.

    For each update the methods are called in this order: :meth:`context` in the event loop; :meth:`react` and
    :meth:`store` in one transaction, perhaps in another thread, and again where the database rolls it back;
    :meth:`publish` and :meth:`span` after the commit. An exception of the first three rolls the transaction
    back: the update is tried again, and set aside after the fifth time.
    """

    @property
    def menu(self) -> Mapping[str, str]:
        """The commands in the bot's menu, with their descriptions; empty: the menu is left as it is."""

    def introduce(self, username: str | None) -> None:
        """Takes the username of the bot, each time that Telegram has returned it."""

    def context(self, update: ReceivedUpdate) -> ContextT:
        """Collects all that the reaction depends on, besides the database."""

    def react(self, connection: Connection, context: ContextT) -> ReactionT:
        """Decides on the reaction; may write what belongs to it."""

    def store(self, connection: Connection, context: ContextT, reaction: ReactionT) -> None:
        """Stores what else follows, after replies and Bot API calls: the last work of the transaction."""

    async def publish(self, context: ContextT, reaction: ReactionT) -> None:
        """Counts and announces what was committed; the outbox knows of the replies already."""

    def span(self, reaction: ReactionT) -> ReactionSpan | None:
        """What the span of the update says; None: it has none. Called only if spans are exported."""

    def after_outage(self, connection: Connection, since: float, now: float) -> Sequence[Submission]:
        """Stores messages that make up for lost taps, in a transaction; returns them.

        Args:
            connection: in a transaction.
            since: when Telegram was last reached, seconds since the epoch: longer ago than it keeps taps.
            now: seconds since the epoch.
        """
