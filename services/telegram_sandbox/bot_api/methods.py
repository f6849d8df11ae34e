"""The table of Bot API methods, and those about bots, chats, updates and webhooks."""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

from services.telegram_sandbox import errors
from services.telegram_sandbox.bot_api import message_methods
from services.telegram_sandbox.bot_api.call import Call, Method, Result
from services.telegram_sandbox.clock import resolve
from services.telegram_sandbox.state import chats
from services.telegram_sandbox.state.bots import Bot, Webhook, WebhookState
from services.telegram_sandbox.state.sandbox import Sandbox
from services.telegram_sandbox.state.update_queue import Update

LONGEST_POLL = 50  # seconds
CONFLICT_DELAY = 3.0  # seconds
REPEATED_POLL = 3.0  # seconds: a poll with the same offset within this time has to wait
REPEATED_ANSWER = 0.5  # seconds: a poll with the same offset within this time gets one update
MESSAGE_NANOSTARS = 100_000_000  # 0.1 Star, Telegram's price for a message above the free rate
COMMAND = re.compile(r"[a-z0-9_]{1,32}")
SECRET = re.compile(r"[A-Za-z0-9_-]{0,256}")
ACTIVE_WEBHOOK = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
OTHER_POLL = "terminated by other getUpdates request; make sure that only one bot instance is running"
PROFILE = {
    "can_join_groups": True,
    "can_read_all_group_messages": False,
    "supports_inline_queries": False,
    "can_connect_to_business": False,
    "has_main_web_app": False,
}


def unknown(call: Call) -> Result:  # noqa: ARG001 # a method's signature
    raise errors.BotApiError(404, "Not Found: method not found")


def get_me(call: Call) -> Result:
    return call.bot.user() | PROFILE


def get_chat(call: Call) -> Result:
    chat = call.find_chat()
    gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription")
    return chat.wire() | {
        "accent_color_id": chat.id % 7,
        "max_reaction_count": 11,
        "accepted_gift_types": dict.fromkeys((*gifts, "gifts_from_channels"), False),
    }


def send_chat_action(call: Call) -> Result:
    chat = call.find_chat()
    chat.check_writable()
    if not call.args.text("action"):
        raise errors.bad_request("wrong parameter action in request")
    call.log(status=200, action=call.args.text("action"))
    return True


def set_message_reaction(call: Call) -> Result:
    chat = call.find_chat()
    chat.check_writable()
    number = call.args.text("message_id")
    if not number.isdecimal() or int(number) not in chat.messages:
        raise errors.bad_request("message to react not found")
    reaction = call.args.data("reaction")
    chat.messages[int(number)].reaction = chats.emoji_of(reaction)
    call.log(status=200, reaction=reaction)
    return True


def get_file(call: Call) -> Result:
    stored = call.sandbox.files.get(call.bot.id, call.args.text("file_id"))
    if stored is None:
        raise errors.bad_request("invalid file_id")
    if stored.size > message_methods.DOWNLOAD_LIMIT:
        raise errors.bad_request("file is too big")
    shown = message_methods.describe(stored)
    return {name: shown[name] for name in ("file_id", "file_unique_id", "file_size")} | {
        "file_path": stored.path
    }


def set_my_commands(call: Call) -> Result:
    commands = call.args.data("commands")
    if not isinstance(commands, list):
        raise errors.bad_request("expected an Array of BotCommand")
    if len(commands) > 100:  # noqa: PLR2004 # the published number
        raise errors.bad_request("BOT_COMMANDS_TOO_MUCH")
    call.bot.commands[_scope(call)] = [_command(command) for command in commands]
    call.log(status=200)
    return True


def get_my_commands(call: Call) -> Result:
    return call.bot.commands.get(_scope(call), [])


def delete_my_commands(call: Call) -> Result:
    call.bot.commands.pop(_scope(call), None)
    return True


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


def get_star_transactions(call: Call) -> Result:
    """Returns one transaction for each paid message of the bot, oldest first."""
    offset = call.args.number("offset", 0, 0, 2**31 - 1)
    limit = call.args.number("limit", 100, 1, 100)
    billed = list(enumerate(call.bot.billed))[offset : offset + limit]
    receiver = {"type": "telegram_api", "request_count": 1}
    cost = {"amount": 0, "nanostar_amount": MESSAGE_NANOSTARS}
    return {
        "transactions": [
            {"id": f"{call.bot.id}-{number}", **cost, "date": date, "receiver": receiver}
            for number, date in billed
        ]
    }


def _scope(call: Call) -> str:
    scope = call.args.data("scope")
    kind = scope.get("type", "default") if isinstance(scope, dict) else "default"
    chat = scope.get("chat_id", "") if isinstance(scope, dict) else ""
    return f"{kind}:{chat}:{call.args.text('language_code')}"


def _command(command: Any) -> dict[str, str]:
    if not isinstance(command, dict):
        raise errors.bad_request("can't parse BotCommand: expected an Object")
    name, description = str(command.get("command", "")).lower().lstrip("/"), command.get("description")
    if not COMMAND.fullmatch(name):
        raise errors.bad_request("BOT_COMMAND_INVALID")
    if not isinstance(description, str) or not 1 <= len(description) <= 256:  # noqa: PLR2004 # published
        raise errors.bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": name, "description": description}


def _allow(call: Call) -> None:
    kinds = call.args.data("allowed_updates")
    if isinstance(kinds, list):
        call.bot.queue.allow(frozenset(str(kind).lower() for kind in kinds))


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
    """Returns the webhook of a request. Any port and http are allowed, as by a local Bot API server."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.bad_request("invalid webhook URL specified")
    secret = call.args.text("secret_token")
    if not SECRET.fullmatch(secret):
        raise errors.bad_request("secret token contains unallowed characters")
    connections = call.args.number("max_connections", 40, 1, 100)
    return Webhook(parts.geturl(), secret, connections, call.args.text("ip_address"))


METHODS: dict[str, Method] = {
    "getMe": get_me,
    "sendMessage": message_methods.send_message,
    "sendDocument": message_methods.send_document,
    "editMessageText": message_methods.edit_message_text,
    "editMessageCaption": message_methods.edit_message_caption,
    "editMessageReplyMarkup": message_methods.edit_message_reply_markup,
    "deleteMessage": message_methods.delete_message,
    "answerCallbackQuery": message_methods.answer_callback_query,
    "sendChatAction": send_chat_action,
    "setMessageReaction": set_message_reaction,
    "getChat": get_chat,
    "getFile": get_file,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "getStarTransactions": get_star_transactions,
}
BY_LOWER_NAME = {name.lower(): (name, method) for name, method in METHODS.items()}  # names ignore case
