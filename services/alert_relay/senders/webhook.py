"""Calls other programs, signed by Standard Webhooks.

The id of a call is the same for every attempt, so that a program recognises repetitions.
"""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from services.alert_relay.channels.configuration import SignedWebhook
from services.alert_relay.channels.target import Channel
from services.alert_relay.senders import http_calls, webhook_body
from services.alert_relay.senders.delivery import Delivery, Ending, without
from services.alert_relay.senders.http_calls import Answer, HttpCalls
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web import webhook_signatures


class Webhooks:
    """Makes signed calls.

    Args:
        names: the programs by name.
        telemetry: counts the calls.
    """

    channel = Channel.WEBHOOK

    def __init__(self, names: Mapping[str, SignedWebhook], telemetry: Telemetry) -> None:
        self._names = names
        # The bridge's webhooks are counted as "webhook".
        self._calls = HttpCalls(telemetry, "alert_webhook")

    async def close(self) -> None:
        await self._calls.close()

    async def send(self, delivery: Delivery) -> Ending:
        target = self._names[delivery.address]
        body = orjson.dumps(webhook_body.body(delivery))
        headers = webhook_signatures.headers(
            target.secret, delivery.message_id, int(delivery.started_at), body
        )
        answer = await self._calls.post("webhook", target.url, body, headers)
        ended = http_calls.ending(answer) if isinstance(answer, Answer) else answer
        return replace(without(ended, *target.secret.split()), repeatable=True)
