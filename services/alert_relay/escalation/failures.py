"""Escalates at once what cannot arrive any more, instead of at the deadline of its receipt."""

from collections.abc import Sequence
from functools import partial

from services.alert_relay.escalation import levels
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.outbox.messages import Origin, Settled, is_failure


class FailureObserver:
    """Notes failed notifications of incidents.

    Args:
        database: of the relay.
        clock: the time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def observe(self, settled: Sequence[Settled]) -> None:
        """Makes the receipts of notifications due that ended without an arrival."""
        failed = [
            each.message.event_id
            for each in settled
            if each.message.origin is Origin.ALERT and is_failure(each.decision.state, each.result.reason)
        ]
        if not failed:
            return
        work = partial(levels.note_failure, event_ids=failed, now=self._clock.time())
        # If this fails, the deadline of the receipt still comes.
        with suppress_and_log("failed_notifications_not_noted"):
            await self._database.write("timers", work)
