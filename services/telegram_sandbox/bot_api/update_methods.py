"""The Bot API methods that deliver updates: getUpdates and the webhook.

Sources: Client.cpp, `process_get_updates_query`, `process_set_webhook_query`, `get_allowed_update_types`;
WebhookActor.cpp, `start_up`.
"""

import asyncio
import re
from ipaddress import ip_address
from typing import Any

from services.telegram_sandbox import errors
from services.telegram_sandbox.bot_api.call import Call, Result
from services.telegram_sandbox.clock import resolve
from services.telegram_sandbox.markup import links
from services.telegram_sandbox.state.bots import Bot, Webhook, WebhookState
from services.telegram_sandbox.state.sandbox import Sandbox
from services.telegram_sandbox.state.update_queue import KINDS, Update

LONGEST_POLL = 50  # seconds
CONFLICT_DELAY = 3.0  # seconds
REPEATED_POLL = 3.0  # seconds: a poll with the same offset within this time has to wait
REPEATED_ANSWER = 0.5  # seconds: a poll with the same offset within this time gets one update
SECRET = re.compile(r"[A-Za-z0-9_-]*")
LONGEST_SECRET = 256
HTTPS_PORT = 443
PUBLIC_PORTS = (80, 88, 443, 8443)
ACTIVE_WEBHOOK = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
OTHER_POLL = "terminated by other getUpdates request; make sure that only one bot instance is running"


async def get_updates(call: Call) -> Result:
    """Returns pending updates, or waits for them up to `timeout` seconds."""
    bot, sandbox = call.bot, call.sandbox
    if bot.webhook is not None:
        raise _conflict(bot, ACTIVE_WEBHOOK, call.now)
    offset, limit = call.args.number("offset"), call.args.number("limit", 100, 1, 100)
    wait: float = call.args.number("timeout", 0, 0, LONGEST_POLL)
    _allow(call)
    if offset == bot.last_offset:
        if wait < REPEATED_POLL and call.now < bot.last_poll_at + REPEATED_POLL:
            wait = REPEATED_POLL
        if call.now < bot.last_answer_at + REPEATED_ANSWER:
            limit = 1
    bot.last_offset, bot.last_poll_at = offset, call.now
    if bot.poll is not None and not bot.poll.done():
        bot.poll.set_result(_conflict(bot, OTHER_POLL, call.now))
    sandbox.confirm(bot, offset)
    updates = bot.queue.head(limit, call.now)
    if not updates and wait:
        updates = await _long_poll(sandbox, bot, limit, wait)
    if updates:
        bot.last_answer_at = call.now
        call.log(status=200, updates=[update.id for update in updates])
    return [update.wire() for update in updates]


def set_webhook(call: Call) -> Result:
    url, bot = call.args.text("url"), call.bot
    if not url:
        return delete_webhook(call)
    if call.now < bot.next_set_webhook_at:
        raise errors.too_many_requests(1)
    bot.next_set_webhook_at = call.now + 1
    webhook = _webhook(call, url)
    _drop_pending(call)
    _allow(call)
    bot.webhook_state = WebhookState()
    if bot.poll is not None:
        call.sandbox.wake(bot, _conflict(bot, "terminated by setWebhook request", call.now))
    call.sandbox.set_webhook(bot, webhook)
    return True


def delete_webhook(call: Call) -> Result:
    _drop_pending(call)
    if call.bot.webhook is not None:
        call.sandbox.set_webhook(call.bot, None)
    return True


def get_webhook_info(call: Call) -> Result:
    bot, state = call.bot, call.bot.webhook_state
    info: dict[str, Any] = {
        "url": bot.webhook.url if bot.webhook else "",
        "has_custom_certificate": False,
        "pending_update_count": len(bot.queue.pending),
    }
    if bot.webhook is not None:
        info |= {"max_connections": bot.webhook.max_connections, "ip_address": bot.webhook.ip_address}
    if state.last_error_at is not None:
        info |= {"last_error_date": int(state.last_error_at), "last_error_message": state.last_error}
    if bot.queue.allowed is not None:
        info["allowed_updates"] = sorted(bot.queue.allowed)
    return {name: value for name, value in info.items() if value != "" or name == "url"}


def _allow(call: Call) -> None:
    """Sets the kinds of updates. Unknown ones are ignored; if none is left, the default is restored."""
    kinds = call.args.data("allowed_updates")
    if isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds):
        call.bot.queue.allow(KINDS & {kind.lower() for kind in kinds})


def _drop_pending(call: Call) -> None:
    if call.args.flag("drop_pending_updates"):
        call.sandbox.confirm(call.bot, call.bot.queue.next_id)


def _conflict(bot: Bot, text: str, now: float) -> errors.BotApiError:
    """Returns a 409; a second one within three seconds is delayed by three seconds."""
    if now >= bot.next_conflict_at:
        bot.next_conflict_at = now + CONFLICT_DELAY
        return errors.conflict(text)
    return errors.conflict(text, delay=CONFLICT_DELAY)


async def _long_poll(sandbox: Sandbox, bot: Bot, limit: int, seconds: float) -> list[Update]:
    poll: asyncio.Future[errors.BotApiError | None] = asyncio.get_running_loop().create_future()
    bot.poll = poll
    timer = sandbox.clock.after(seconds, lambda: resolve(poll, None))
    try:
        error = await poll
    finally:
        timer.cancel()
        if bot.poll is poll:
            bot.poll = None
    if error is not None:
        raise error
    return bot.queue.head(limit, sandbox.clock.now())


def _webhook(call: Call, url: str) -> Webhook:
    """Returns the webhook of a request.

    A host of this machine or its network is allowed with any port and without TLS, as by a local Bot API
    server; Telegram itself could not reach it.
    """
    try:
        parsed = links.parse(url, default_scheme="https")
    except links.LinkError:
        raise errors.bad_request("invalid webhook URL specified") from None
    secret = call.args.text("secret_token")
    if len(secret) > LONGEST_SECRET:
        raise errors.bad_request("secret token is too long")
    if not SECRET.fullmatch(secret):
        raise errors.bad_request("secret token contains unallowed characters")
    if not _is_local(parsed.host):
        _check_public(parsed)
    address, connections = call.args.text("ip_address"), call.args.number("max_connections", 40, 1, 100)
    # As given, so that getWebhookInfo answers what was set.
    return Webhook(url if "://" in url else f"https://{url}", secret, connections, address)


def _is_local(host: str) -> bool:
    try:
        return not ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host


def _check_public(parsed: links.HttpUrl) -> None:
    if parsed.scheme != "https":
        raise errors.bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if (parsed.port or HTTPS_PORT) not in PUBLIC_PORTS:
        raise errors.bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
