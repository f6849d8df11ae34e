"""Sends events to PagerDuty (Events API v2). A repeated event makes no difference: it has the same key."""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from services.alert_relay.channels.configuration import PagerDuty
from services.alert_relay.channels.target import Channel
from services.alert_relay.senders import http_calls, pagerduty_event
from services.alert_relay.senders.delivery import Delivery, Ending, sent, without
from services.alert_relay.senders.http_calls import Answer, HttpCalls
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Outcome


class PagerDutyEvents:
    """Sends events.

    Args:
        names: the integrations by name.
        telemetry: counts the calls.
    """

    channel = Channel.PAGERDUTY

    def __init__(self, names: Mapping[str, PagerDuty], telemetry: Telemetry) -> None:
        self._names = names
        self._calls = HttpCalls(telemetry, Channel.PAGERDUTY.value)

    async def close(self) -> None:
        await self._calls.close()

    async def send(self, delivery: Delivery) -> Ending:
        target = self._names[delivery.address]
        event = pagerduty_event.event(delivery.notification, delivery.event_id)
        body = orjson.dumps({"routing_key": target.routing_key, **event})
        answer = await self._calls.post("enqueue", target.url, body)
        ended = http_calls.ending(answer) if isinstance(answer, Answer) else answer
        if isinstance(answer, Answer) and ended.outcome is Outcome.SENT:
            found = answer.json
            detail = f"{event['event_action']}: {found.get('status', 'no status')}"
            ended = sent(f"{detail}, dedup_key {found.get('dedup_key', event['dedup_key'])}")
        return replace(without(ended, target.routing_key), repeatable=True)
