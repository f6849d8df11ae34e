"""Stores webhooks, with a limit on their number and on the time, and counts what was stored."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from services.alert_relay import commands, snapshot_store, store
from services.alert_relay.alertmanager import parse
from services.alert_relay.alertmanager.config import RepeatIntervals
from services.alert_relay.alertmanager.snapshot import Correction, Snapshot
from services.alert_relay.channels.target import Target
from services.alert_relay.clusters import configuration
from services.alert_relay.commands import Performed
from services.alert_relay.digest import weekly
from services.alert_relay.escalation.levels import Escalation
from services.alert_relay.incidents.episodes import AlertGroup
from services.alert_relay.incidents.incident import Actor, Command
from services.alert_relay.incidents.severity import Urgency, urgency_of
from services.alert_relay.maintenance import ends
from services.alert_relay.maintenance.window import MaintenanceWindow
from services.alert_relay.metrics import EscalationCause, RelayMetrics, TruncatedOutcome
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.notification import Notification, Purpose
from services.alert_relay.notifications.recipients import Recipients
from services.alert_relay.notifications.router import Router, ToAll
from services.alert_relay.notifications.store import Addressed, NotificationTarget
from services.alert_relay.on_call.policies import Policies
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.snapshot_store import Cluster
from services.alert_relay.store import StoreResult
from services.alert_relay.urgent_first import UrgentFirst
from services.contracts.alertmanager import Webhook
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.engine import Outbox
from services.outbox.intake import enqueue
from services.outbox.messages import Submission

log = structlog.get_logger()

#: Alertmanager waits for the answer as long as its group_interval, and then sends the webhook again.
STORE_WITHIN_SECONDS = 5.0
#: More concurrent webhooks are refused; Alertmanager retries within a second.
MAX_CONCURRENT = 64
#: So many transactions of webhooks are open at once; the others wait, urgent ones in front.
STORED_AT_ONCE = 2
#: The status of an overload: Alertmanager retries a 503 soon, but a 429 only at its next group_interval.
OVERLOADED = 503


class Relay:
    """Stores webhooks and snapshots, and wakes the outbox and the reconcilers.

    Args:
        settings: of the service.
        recipients: the targets that get the notifications.
        outbox: delivers the notifications; the relay uses its database.
        telemetry: makes the trace of a webhook without one.
        metrics: of the service.
        clock: the time.
        policies: decide who is notified of which incident; None: all targets are, at once.
        store_within: seconds that a transaction may take.
    """

    def __init__(
        self,
        *,
        settings: AlertRelaySettings,
        recipients: Recipients,
        outbox: Outbox,
        telemetry: Telemetry,
        metrics: RelayMetrics,
        clock: Clock,
        policies: Policies | None = None,
        store_within: float = STORE_WITHIN_SECONDS,
    ) -> None:
        self._settings = settings
        self._recipients = recipients
        self._policies = policies
        self._outbox = outbox
        self._telemetry = telemetry
        self.metrics = metrics
        self._clock = clock
        self._store_within = store_within
        self._throttles = settings.throttles
        self._digest = settings.digest
        self._in_progress = 0
        self._turns = UrgentFirst(STORED_AT_ONCE)
        #: The repeat intervals of each cluster, by name; the reconcilers read them.
        self.repeats: dict[str, RepeatIntervals] = {}

    async def receive(
        self, webhook: Webhook, body: str, parent: TraceContext | None, cluster: str | None = None
    ) -> float:
        """Stores a webhook with its episodes, incidents and messages.

        Args:
            webhook: the validated payload.
            body: the raw payload.
            parent: the caller's span.
            cluster: name of the cluster; None: the one that the webhook's external URL belongs to.

        Returns:
            When it was received, seconds since the epoch; it is on disk.

        Raises:
            Problem: 503, it may not be stored; a retry is safe.
        """
        if self._in_progress >= MAX_CONCURRENT:
            raise Problem(OVERLOADED, "Overloaded", "Too many webhooks are being stored.")
        now = self._clock.time()
        target = self.target(parent)
        name = cluster or configuration.normal(webhook.externalURL)
        group = parse.alert_group(webhook, name, now)
        work = partial(store.receive, group=group, body=body, target=target, now=now, repeats=self.repeats)
        self._in_progress += 1
        try:
            async with asyncio.timeout(self._store_within), self._turns.turn(urgent=_is_urgent(group)):
                result = await self._outbox.database.write("receive", work, notify=enqueue.CHANNEL)
        except TimeoutError as error:
            detail = f"The webhook was not stored within {self._store_within:g} s."
            raise Problem(OVERLOADED, "Overloaded", detail) from error
        finally:
            self._in_progress -= 1
        self._count(webhook, result, now)
        return now

    async def correct(
        self, cluster: Cluster, snapshot: Snapshot, missed_since: Mapping[str, float]
    ) -> Correction:
        """Corrects what is stored of a cluster by the alerts that its Alertmanagers list.

        Raises:
            Problem: 503, the correction may not be stored.
        """
        work = partial(
            snapshot_store.apply,
            cluster=cluster,
            found=snapshot,
            missed_since=missed_since,
            target=self.target(),
            now=self._clock.time(),
        )
        corrected = await self._outbox.database.write("correct", work, notify=enqueue.CHANNEL)
        fetched = len(corrected.correction.fetched)
        self.metrics.left_out.labels(TruncatedOutcome.FETCHED.value).inc(fetched)
        for result in corrected.results:
            self._after_commit(result)
        return corrected.correction

    async def perform(
        self, incident_id: str, wanted: Command, *, actor: Actor, version: int
    ) -> Performed | None:
        """Carries out a person's command on an incident; None: there is no such incident.

        Raises:
            Problem: 503, it may not be stored; a retry is safe.
        """
        now = self._clock.time()
        work = partial(
            commands.perform,
            incident_id=incident_id,
            wanted=wanted,
            actor=actor,
            version=version,
            target=self.target(),
            now=now,
        )
        performed = await self._outbox.database.write("command", work, notify=enqueue.CHANNEL)
        if performed is not None:
            self.record(performed, now)
        return performed

    async def end_window(self, over: MaintenanceWindow, *, for_good: bool = False) -> None:
        """Ends an occurrence of a maintenance window, and notifies people of what still fires.

        Args:
            over: the window.
            for_good: whether a recurring window ends too.

        Raises:
            Problem: 503, it may not be stored; a retry is safe.
        """
        now = self._clock.time()
        work = partial(ends.end, over=over, target=self.target(), now=now, for_good=for_good)
        done = await self._outbox.database.write("maintenance", work, notify=enqueue.CHANNEL)
        if done is not None:
            self._outbox.record_stored(done.submissions, now)

    async def send_digest(self) -> None:
        """Sends the digest of the last week, if that is due (``ALERT_DIGEST``)."""
        when, now = self._digest, self._clock.time()
        if when is None or not await self.database.read("digest", partial(weekly.is_due, when=when, now=now)):
            return
        target, chosen = self.target(), self._settings.alert_digest_chat
        chats = target.chat_ids[:1] if chosen is None else (chosen,)
        work = partial(weekly.send, when=when, chat_ids=chats, trace=target.trace, now=now)
        self.record_enqueued(await self.database.write("digest", work, notify=enqueue.CHANNEL))

    def record_enqueued(self, submissions: Sequence[Submission]) -> None:
        """Passes messages that were committed to the outbox."""
        self._outbox.record_stored(submissions, self._clock.time())

    def record_escalation(self, escalation: Escalation) -> None:
        """Counts an escalation that was committed."""
        if escalation.level is not None:
            self.metrics.escalations.labels(str(escalation.level), escalation.cause.value).inc()
        elif escalation.cause is EscalationCause.UNDELIVERED:
            for channel in escalation.fallback or ("none",):
                self.metrics.fallbacks.labels(channel).inc()
            if not escalation.fallback:
                log.error("incident_not_notified", incident_id=escalation.after.id)

    @property
    def router(self) -> Router:
        """Who is notified of which incident.

        Raises:
            Problem: 503, no chat is known yet.
        """
        return self.target().route

    @property
    def database(self) -> Database:
        return self._outbox.database

    def record(self, performed: Performed, now: float) -> None:
        """Counts a command that was committed, and passes its messages to the outbox."""
        if performed.first_acknowledgement:
            self.metrics.ack.observe(max(0.0, now - performed.before.opened_at))
        if performed.escalation is not None:
            self.record_escalation(performed.escalation)
        if performed.resolved is not None:
            self.metrics.record_resolved([performed.resolved])
        self._outbox.record_stored(performed.submissions, now)

    async def report(self, group: AlertGroup) -> None:
        """Stores an alert that the relay raises or resolves itself, and notifies people of the change.

        Raises:
            Problem: 503, it may not be stored.
        """
        work = partial(store.report, group=group, target=self.target(), now=self._clock.time())
        self._after_commit(await self._outbox.database.write("report", work, notify=enqueue.CHANNEL))

    async def test(self, target: Target) -> str:
        """Enqueues a test for one target; returns the id of its message.

        Raises:
            Problem: 503, it may not be stored.
        """
        now = self._clock.time()
        composed = Notification(Urgency.NORMAL, (), 0, 0, "", purpose=Purpose.TEST)
        wanted = NotificationTarget((target,), self._telemetry.new_trace())
        work = partial(
            notification_store.enqueue_all, composed=[Addressed(composed, (target,))], target=wanted, now=now
        )
        submissions = await self._outbox.database.write("targets", work, notify=enqueue.CHANNEL)
        self._outbox.record_stored(submissions, now)
        return submissions[0].messages[0][0].id

    def target(self, parent: TraceContext | None = None) -> NotificationTarget:
        """Returns who gets the notifications of a change.

        Raises:
            Problem: 503, no target is known yet.
        """
        trace = parent.child() if parent else self._telemetry.new_trace()
        targets = self._recipients.targets()
        return NotificationTarget(
            targets,
            trace,
            parent,
            router=self._policies or ToAll(targets, self._settings.alert_fallback_targets),
            reopen_seconds=self._settings.incident_reopen_seconds,
            acknowledge_seconds=self._settings.acknowledge_seconds,
            storm_incidents=self._settings.storm_incidents,
            without_edits=self._recipients.without_edits,
            throttles=self._throttles,
        )

    def _count(self, webhook: Webhook, result: StoreResult, now: float) -> None:
        for alert in webhook.alerts:
            self.metrics.received.labels(alert.status.value).inc()
        self.metrics.unreadable.inc(len(webhook.unreadable))
        if webhook.unreadable:
            log.error("alerts_unreadable", group_key=webhook.groupKey, faults=webhook.unreadable[:10])
        if result.watchdog:
            self.metrics.watchdog.beat(now)
        if webhook.truncatedAlerts:
            self._truncated(webhook.truncatedAlerts, result.cluster)
        self._after_commit(result)
        log.info(
            "webhook_stored",
            group_key=webhook.groupKey,
            alerts=len(webhook.alerts),
            truncated=webhook.truncatedAlerts,
            notifications=len(result.submissions),
        )

    def _after_commit(self, result: StoreResult) -> None:
        """Counts the resolved incidents, and passes the messages to the outbox."""
        self.metrics.record_resolved(result.resolved)
        for cause, number in result.held_back.items():
            self.metrics.held_back.labels(cause.value).inc(number)
        self._outbox.record_stored(result.submissions, self._clock.time())

    def _truncated(self, alerts: int, cluster: str) -> None:
        """Wakes the reconciler, which reads the left-out alerts; without one they are missed."""
        if any(each.name == cluster and each.api_urls for each in self._settings.clusters):
            self._outbox.database.notify(snapshot_store.CHANNEL)
        else:
            self.metrics.left_out.labels(TruncatedOutcome.MISSED.value).inc(alerts)


def _is_urgent(group: AlertGroup) -> bool:
    """Whether an alert of the group should wake somebody, or could not be read."""
    urgent = any(urgency_of(alert.severity) is Urgency.LOUD for alert in group.alerts)
    return urgent or bool(group.unreadable)
