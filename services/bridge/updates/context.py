"""An update to act on with all that it depends on, and what acting on it has brought about."""

from dataclasses import dataclass, field

from services.bridge.approvals.approval import Outcome, Via
from services.bridge.approvals.decisions import Changed
from services.bridge.commands.commands import Snapshot
from services.bridge.updates import responses
from services.bridge.updates.parse import Incoming
from services.bridge.updates.responses import Link, NewResponse
from services.bridge.updates.store import Chore, Stored
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Submission


@dataclass(frozen=True, slots=True)
class Situation:
    """All that acting on an update depends on, besides the database.

    Args:
        update: as it was stored.
        incoming: read from it.
        allowed: Telegram ids of those who may talk to the bot.
        username: of the bot, where it is known.
        snapshot: what was measured.
        tell_stranger: whether who is not allowed is told so; once in a while.
        trace: the span of the update.
        now: seconds since the epoch.
    """

    update: Stored
    incoming: Incoming
    allowed: frozenset[int]
    username: str | None
    snapshot: Snapshot
    tell_stranger: bool
    trace: TraceContext
    now: float

    @property
    def bot(self) -> str:
        return self.update.bot


@dataclass(slots=True)
class Done:
    """What was stored, for those to be told after the commit."""

    what: str = "ignored"
    link: Link = responses.NO_LINK
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)
    submissions: list[Submission] = field(default_factory=list)
    changes: list[Changed] = field(default_factory=list)
    answered: tuple[Via, Outcome] | None = None
    chores: list[Chore] = field(default_factory=list)
    stranger: bool = False
    #: Who is not allowed and was told so.
    stranger_told: int | None = None
    response: NewResponse | None = None
