"""What is told of questions after a commit: the engine's counts and spans, those who wait, the metrics."""

from collections.abc import Sequence

from services.bridge.approvals import store
from services.bridge.approvals.approval import Outcome, State, Via
from services.bridge.approvals.decisions import Changed
from services.bridge.metrics import ApprovalMetrics
from services.bridge.webhooks import store as webhooks
from services.kit.clock import Clock
from services.outbox.engine import Outbox
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.messages import Submission


class News:
    """Tells what a committed transaction did."""

    def __init__(self, outbox: Outbox, metrics: ApprovalMetrics, clock: Clock) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock

    def posted(self, number: int) -> None:
        """Of questions that came as events: the engine has told the rest itself."""
        self._metrics.asked.inc(number)

    async def asked(self, submission: Submission, approval_id: str) -> None:
        self._metrics.asked.inc()
        self._outbox.stored([submission], self._clock.time())
        self._outbox.database.wake(OUTBOX, store.channel(approval_id))

    def answered(self, via: Via, outcome: Outcome) -> None:
        self._metrics.answers.labels(via.value, outcome.value).inc()

    async def closed(self, changes: Sequence[Changed]) -> None:
        """Of questions that were to be closed; those that were not are none."""
        for change in changes:
            if not change.closed_now:
                continue
            approval = change.approval
            self._metrics.closed.labels(approval.state.value).inc()
            if approval.state is State.DECIDED and approval.closed_at is not None:
                self._metrics.seconds.observe(approval.closed_at - approval.created_at)
            self._outbox.stored(change.submissions, self._clock.time())
            self._outbox.database.wake(OUTBOX, store.channel(approval.id))
            if approval.callback_url:
                self._outbox.database.wake(webhooks.CHANNEL)
