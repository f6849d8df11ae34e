"""The table of Bot API methods, and those about bots and chats."""

from typing import Any

import orjson

from services.telegram_sandbox import errors, json_fields
from services.telegram_sandbox.bot_api import (
    command_methods,
    media_methods,
    message_methods,
    update_methods,
)
from services.telegram_sandbox.bot_api.call import Call, Method, Result
from services.telegram_sandbox.json_fields import FieldError
from services.telegram_sandbox.state import chats

MESSAGE_NANOSTARS = 100_000_000  # 0.1 Star, Telegram's price for a message above the free rate
PROFILE = {
    "can_join_groups": True,
    "can_read_all_group_messages": False,
    "supports_inline_queries": False,
    "can_connect_to_business": False,
    "has_main_web_app": False,
}


#: Emoji that everyone may react with; a bot gives at most one.
REACTIONS = (
    "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤️‍🔥"
    " 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨"
    " 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂️ 🤷 🤷‍♀️ 😡"
)
REACTION_EMOJI = frozenset(REACTIONS.split())


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
    kinds = [_reaction(kind) for kind in _reactions(call)]
    chat = call.find_chat()
    chat.check_writable()
    number = call.args.number("message_id")
    if number not in chat.messages:
        raise errors.bad_request("message to react not found")
    if len(kinds) > 1:
        raise errors.bad_request("REACTIONS_TOO_MANY")
    if any(kind.get("emoji", "") not in REACTION_EMOJI for kind in kinds):
        raise errors.bad_request("REACTION_INVALID")
    chat.messages[number].reaction = chats.emoji_of(kinds)
    call.log(status=200, reaction=kinds)
    return True


def _reactions(call: Call) -> list[Any]:
    raw = call.args.values.get("reaction")
    try:
        kinds = [] if raw in (None, "") else orjson.loads(raw) if isinstance(raw, str) else raw
    except orjson.JSONDecodeError:
        raise errors.bad_request("can't parse reaction types JSON object") from None
    if not isinstance(kinds, list):
        raise errors.bad_request("expected an Array of ReactionType")
    return kinds


def _reaction(kind: Any) -> dict[str, Any]:
    try:
        return _parsed_reaction(kind)
    except FieldError as error:
        raise errors.bad_request(f"Can't parse ReactionType: {error}") from None


def _parsed_reaction(kind: Any) -> dict[str, Any]:
    if not isinstance(kind, dict):
        raise FieldError("expected an Object")
    match json_fields.text(kind, "type"):
        case "emoji":
            return {"type": "emoji", "emoji": json_fields.text(kind, "emoji")}
        case "custom_emoji":
            number = json_fields.integer(kind, "custom_emoji_id", bits=64)
            return {"type": "custom_emoji", "custom_emoji_id": str(number)}
        case _:
            raise FieldError("invalid reaction type specified")


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


METHODS: dict[str, Method] = {
    "getMe": get_me,
    "sendMessage": message_methods.send_message,
    "sendDocument": message_methods.send_document,
    **media_methods.METHODS,
    "sendMediaGroup": media_methods.send_media_group,
    "editMessageText": message_methods.edit_message_text,
    "editMessageCaption": message_methods.edit_message_caption,
    "editMessageReplyMarkup": message_methods.edit_message_reply_markup,
    "deleteMessage": message_methods.delete_message,
    "pinChatMessage": message_methods.pin_chat_message,
    "answerCallbackQuery": message_methods.answer_callback_query,
    "sendChatAction": send_chat_action,
    "setMessageReaction": set_message_reaction,
    "getChat": get_chat,
    "getFile": get_file,
    "setMyCommands": command_methods.set_my_commands,
    "getMyCommands": command_methods.get_my_commands,
    "deleteMyCommands": command_methods.delete_my_commands,
    "getUpdates": update_methods.get_updates,
    "setWebhook": update_methods.set_webhook,
    "deleteWebhook": update_methods.delete_webhook,
    "getWebhookInfo": update_methods.get_webhook_info,
    "getStarTransactions": get_star_transactions,
}
BY_LOWER_NAME = {name.lower(): (name, method) for name, method in METHODS.items()}  # names ignore case
