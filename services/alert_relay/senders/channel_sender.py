"""What the outbox's worker sends by: finds the target of a message, and hands it to the target's channel."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, Self

import structlog

from services.alert_relay.channels import store
from services.alert_relay.channels.configuration import ChannelConfiguration
from services.alert_relay.channels.target import Channel, Target
from services.alert_relay.notifications import notification
from services.alert_relay.senders import plain_text
from services.alert_relay.senders.apprise_service import AppriseServices
from services.alert_relay.senders.delivery import Delivery, Ending, refused
from services.alert_relay.senders.mail import Mail
from services.alert_relay.senders.pagerduty import PagerDutyEvents
from services.alert_relay.senders.slack import Slack
from services.alert_relay.senders.webhook import Webhooks
from services.kit.clock import Clock, rfc3339
from services.kit.database.connect import Database
from services.kit.health import Health, Level, Measurement
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import SendingBot
from services.outbox.messages import Claimed, Outcome, Reason, Rendered, Result, Text
from services.outbox.messages.step import Render, Step
from services.outbox.rate_limit.limits import Limits

log = structlog.get_logger()

#: Slack takes a message a second in each channel, PagerDuty two; the bursts of alerts are short.
LIMITS = Limits(bot_per_second=30.0, chat_per_second=1.0, chat_burst=10.0)
#: These are about the whole channel; the others may be about one target or one message.
_CHANNEL_FAILS = frozenset(
    {Reason.CONNECT_FAILED, Reason.NO_ANSWER, Reason.SERVER_ERROR, Reason.NO_RIGHTS, Reason.BAD_ANSWER}
)


class ChannelService(Protocol):
    """A channel that sends."""

    channel: Channel

    async def send(self, delivery: Delivery) -> Ending:
        """Sends one message; whatever the channel answers is an ending, not an exception."""

    async def close(self) -> None: ...


def services_of(configured: ChannelConfiguration, telemetry: Telemetry) -> Sequence[ChannelService]:
    """Returns the channels that the settings describe.

    Raises:
        StartError: Apprise is not installed, or does not know a URL.
    """
    found: list[ChannelService] = []
    if configured.server is not None and configured.sender is not None:
        found.append(Mail(configured.server, configured.sender, telemetry))
    if configured.slack:
        found.append(Slack(configured.slack, telemetry))
    if configured.pagerduty:
        found.append(PagerDutyEvents(configured.pagerduty, telemetry))
    if configured.webhooks:
        found.append(Webhooks(configured.webhooks, telemetry))
    if configured.apprise:
        found.append(AppriseServices(configured.apprise, telemetry))
    return found


class TargetNumbers:
    """The targets behind the numbers of the outbox; a number never changes its target.

    Args:
        database: that holds them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[int, Target] = {}

    async def target(self, number: int) -> Target | None:
        """Returns the target with a number; None: there is none.

        Raises:
            Problem: 503, the database cannot be read.
        """
        if number not in self._known:
            found = await self._database.read("targets", partial(store.of_id, number=number))
            if found is None:
                return None
            self._known[number] = found
        return self._known[number]


def rendered(claimed: Claimed) -> Rendered:
    """Returns the content of a message as plain text; each channel makes its own form of the notification."""
    return Rendered((Text(plain_text.body(notification.from_json(claimed.body))),))


class ChannelSender:
    """The :class:`services.outbox.delivery.message_sender.MessageSender` of the channels.

    Args:
        configured: the channels of the settings.
        services: those that send.
        numbers: the targets of messages.
        clock: times the attempts.
    """

    def __init__(
        self,
        configured: ChannelConfiguration,
        services: Sequence[ChannelService],
        numbers: TargetNumbers,
        clock: Clock,
    ) -> None:
        self._configured = configured
        self._services: Mapping[Channel, ChannelService] = {each.channel: each for each in services}
        self._numbers = numbers
        self._clock = clock
        #: When each channel last took a message and last failed, seconds since the epoch, since the start.
        self.receipts: dict[Channel, float] = {}
        self.failures: dict[Channel, tuple[float, Reason]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._services.values():
            await each.close()

    async def check(self) -> None:
        """Checks nothing: every call of a channel sends a message."""

    def step(self, message: Claimed, render: Render) -> Step:
        return Step(message, render(message))

    async def send(self, message: Claimed, rendered: Rendered) -> Result:
        started = self._clock.time()
        target = await self._numbers.target(message.chat_id)
        ended = await self._send(target, message, rendered, started)
        finished = self._clock.time()
        if target is not None:
            self._note(target.channel, ended, finished)
        return ended.result(started, finished)

    async def _send(
        self, target: Target | None, message: Claimed, rendered: Rendered, started: float
    ) -> Ending:
        if target is None:
            return refused(Reason.CHAT_NOT_FOUND, "the target of this message is not stored")
        try:
            self._configured.check(target)
        except ValueError as error:
            return refused(Reason.CHAT_NOT_FOUND, str(error))
        part = rendered.parts[0]
        delivery = Delivery(
            message.id,
            message.event_id,
            target.address,
            notification.from_json(message.body),
            part.text if isinstance(part, Text) else "",
            message.accepted_at,
            started,
            message.edits if message.is_edit else None,
            message.reply_to,
            perhaps_repeated=message.may_have_arrived and not message.is_edit,
        )
        return await self._services[target.channel].send(delivery)

    async def check_channel(self, channel: Channel) -> Measurement:
        """Health probe of one channel by what it answered last: a probe sends no message."""
        received, failed = self.receipts.get(channel), self.failures.get(channel)
        if received is None and failed is None:
            return Measurement(Level.UNKNOWN, {"error": "nothing was sent since the start"})
        evidence = {} if received is None else {"last_receipt": rfc3339(received)}
        if failed is None or (received is not None and received > failed[0]):
            return Measurement(Level.HEALTHY, evidence)
        evidence |= {"last_failure": rfc3339(failed[0]), "error": failed[1].value}
        return Measurement(Level.UNHEALTHY if failed[1] in _CHANNEL_FAILS else Level.DEGRADED, evidence)

    def _note(self, channel: Channel, ended: Ending, at: float) -> None:
        if ended.outcome is Outcome.SENT:
            self.receipts[channel] = at
        else:
            self.failures[channel] = (at, ended.reason)
            log.warning("channel_did_not_take", channel=channel.value, reason=ended.reason.value)


def bots_of(
    sender: ChannelSender, services: Sequence[ChannelService]
) -> Mapping[str, SendingBot[ChannelSender]]:
    """Returns the bot of the outbox that sends by channels; none where no channel is configured."""
    if not services:
        return {}
    # The channels are different services: two of them that ask to wait say nothing about the others.
    return {store.CHANNELS_BOT: SendingBot(sender, LIMITS, render=rendered, shares_flood=False)}


def add_probes(health: Health, sender: ChannelSender, services: Sequence[ChannelService]) -> None:
    """Adds a component for each configured channel, such as ``channel_email``."""
    for each in services:
        health.add(f"channel_{each.channel.value}", partial(sender.check_channel, each.channel), every=1.0)
