"""Sends to Slack: by an incoming webhook, or by a bot that edits its messages and answers in threads.

Slack knows a message by its timestamp, such as ``1234567890.123456``; the outbox stores it as microseconds.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from services.alert_relay.channels.configuration import SlackBot, SlackWebhook
from services.alert_relay.channels.target import Channel
from services.alert_relay.senders import http_calls, slack_message
from services.alert_relay.senders.delivery import Delivery, Ending, refused, sent, unknown, without
from services.alert_relay.senders.http_calls import Answer, HttpCalls
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Outcome, Reason

_TIMESTAMP = re.compile(r"([0-9]{1,10})\.([0-9]{6})")
#: Errors of Slack's methods, and the reason that each means; another one refuses this message.
_REASONS = {
    "message_not_found": Reason.CANNOT_EDIT,
    "cant_update_message": Reason.CANNOT_EDIT,
    "edit_window_closed": Reason.CANNOT_EDIT,
    "msg_too_long": Reason.TOO_LONG,
    "channel_not_found": Reason.CHAT_NOT_FOUND,
    "is_archived": Reason.CHAT_NOT_FOUND,
    "not_in_channel": Reason.NO_RIGHTS,
    "restricted_action": Reason.NO_RIGHTS,
    "invalid_auth": Reason.NO_RIGHTS,
    "not_authed": Reason.NO_RIGHTS,
    "account_inactive": Reason.NO_RIGHTS,
    "token_revoked": Reason.NO_RIGHTS,
    "token_expired": Reason.NO_RIGHTS,
    "missing_scope": Reason.NO_RIGHTS,
}
#: Slack may have carried out the call all the same.
_UNCERTAIN = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_RATE_LIMITS = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})


class Slack:
    """Sends to Slack.

    Args:
        names: the targets by name.
        telemetry: counts the calls.
    """

    channel = Channel.SLACK

    def __init__(self, names: Mapping[str, SlackWebhook | SlackBot], telemetry: Telemetry) -> None:
        self._names = names
        self._calls = HttpCalls(telemetry, Channel.SLACK.value)

    async def close(self) -> None:
        await self._calls.close()

    async def send(self, delivery: Delivery) -> Ending:
        target = self._names[delivery.address]
        if isinstance(target, SlackBot):
            return await self._by_bot(target, delivery)
        body = orjson.dumps(slack_message.content(delivery))
        answer = await self._calls.post("incoming_webhook", target.url, body)
        ended = http_calls.ending(answer) if isinstance(answer, Answer) else answer
        return without(ended, target.url, urlsplit(target.url).path)

    async def _by_bot(self, bot: SlackBot, delivery: Delivery) -> Ending:
        method, parameters = call(bot, delivery)
        headers = {"authorization": f"Bearer {bot.token}"}
        url = f"{bot.api_url}/{method}"
        answer = await self._calls.post(method, url, orjson.dumps(parameters), headers)
        return without(ending(answer) if isinstance(answer, Answer) else answer, bot.token)


def call(bot: SlackBot, delivery: Delivery) -> tuple[str, Mapping[str, Any]]:
    """Returns the method and its parameters for a message."""
    parameters = {"channel": bot.channel, **slack_message.content(delivery)}
    if delivery.edits is not None:
        return "chat.update", parameters | {"ts": timestamp(delivery.edits)}
    parameters |= {"unfurl_links": False, "unfurl_media": False}
    if delivery.reply_to is not None:
        parameters |= {"thread_ts": timestamp(delivery.reply_to), "reply_broadcast": True}
    return "chat.postMessage", parameters


def ending(answer: Answer) -> Ending:
    """Returns what the answer of one of Slack's methods means."""
    of_status = http_calls.ending(answer)
    if of_status.outcome is not Outcome.SENT:
        return of_status
    found = answer.json
    if found.get("ok") is True:
        number = number_of(found.get("ts"))
        return sent(f"ts {found.get('ts')}", number)
    error = str(found.get("error", ""))[:100]
    if error in _RATE_LIMITS:
        return Ending(Outcome.NOT_SENT, Reason.FLOOD_CONTROL, error, retry_after=answer.retry_after)
    if error in _UNCERTAIN:
        return unknown(Reason.SERVER_ERROR, error)
    if not error:
        return unknown(Reason.BAD_ANSWER, f"this is no answer of Slack: {answer.text}")
    return refused(_REASONS.get(error, Reason.BAD_REQUEST), error)


def number_of(ts: object) -> int | None:
    """Returns Slack's timestamp as microseconds; None: it is none."""
    found = _TIMESTAMP.fullmatch(ts) if isinstance(ts, str) else None
    return None if found is None else int(found[1]) * 1_000_000 + int(found[2])


def timestamp(number: int) -> str:
    """Returns microseconds as Slack's timestamp; the opposite of :func:`number_of`."""
    return f"{number // 1_000_000}.{number % 1_000_000:06d}"
