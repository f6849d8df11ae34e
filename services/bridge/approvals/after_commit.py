"""After the commit of a change to approvals: counts it, and notifies the engine and waiting requests."""

from collections.abc import Sequence

from services.bridge.approvals import store
from services.bridge.approvals.approval import AnswerOutcome, AnswerVia, Approval, ApprovalState
from services.bridge.approvals.decisions import ApprovalChange
from services.bridge.metrics import ApprovalMetrics
from services.bridge.webhooks import store as webhooks
from services.kit.clock import Clock
from services.outbox import change_feed
from services.outbox.engine import Outbox
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.messages import Submission


class ApprovalPublisher:
    """Publishes committed changes of approvals; call a method only after its transaction has committed."""

    def __init__(self, outbox: Outbox, metrics: ApprovalMetrics, clock: Clock) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock

    def created_by_events(self, number: int) -> None:
        """Counts approvals that events created; the engine notifies about their messages itself."""
        self._metrics.asked.inc(number)

    async def created(self, submission: Submission, approval_id: str) -> None:
        """Publishes an approval that ``POST /api/v1/approvals`` created."""
        self._metrics.asked.inc()
        self._outbox.record_stored([submission], self._clock.time())
        self._outbox.database.notify(OUTBOX, store.channel(approval_id))

    async def sent(self, submissions: Sequence[Submission]) -> None:
        """Publishes reminders and escalations."""
        if submissions:
            self._outbox.record_stored(submissions, self._clock.time())
            self._outbox.database.notify(OUTBOX)
            self._outbox.database.notify_local(change_feed.CHANNEL)

    def answered(self, via: AnswerVia, outcome: AnswerOutcome) -> None:
        """Counts an answer."""
        self._metrics.answers.labels(via.value, outcome.value).inc()

    async def closed(self, changes: Sequence[ApprovalChange]) -> None:
        """Publishes the changes that closed an approval, and the messages that show who has answered."""
        for change in changes:
            if not change.closed_now:
                await self.sent(change.submissions)
                continue
            approval = change.approval
            self._metrics.closed.labels(approval.state.value).inc()
            if approval.state is ApprovalState.DECIDED and approval.closed_at is not None:
                self._metrics.seconds.observe(approval.closed_at - approval.created_at)
            self._outbox.record_stored(change.submissions, self._clock.time())
            self._outbox.database.notify(OUTBOX, store.channel(approval.id))
            self._outbox.database.notify_local(change_feed.CHANNEL)
            if approval.callback_url:
                self._outbox.database.notify(webhooks.CHANNEL)

    async def reach_changed(self, changed: Sequence[Approval]) -> None:
        """Publishes approvals that reach nobody, or somebody after all."""
        for approval in changed:
            self._outbox.database.notify(store.channel(approval.id))
        if changed:
            self._outbox.database.notify(webhooks.CHANNEL)
            self._outbox.database.notify_local(change_feed.CHANNEL)
