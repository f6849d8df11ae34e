"""The Bot API methods of the bot's menu of commands.

Sources: Client.cpp, `get_bot_commands`; BotCommand.cpp, `set_commands`. Codes in capitals are Telegram's own.
"""

import re
from typing import Any

import orjson

from services.telegram_sandbox import errors, json_fields
from services.telegram_sandbox.bot_api.call import Call, Result
from services.telegram_sandbox.json_fields import FieldError
from services.telegram_sandbox.markup.characters import cleaned

MOST_COMMANDS = 100
LONGEST_NAME = 32  # code points
LONGEST_DESCRIPTION = 256  # code points
NAME = re.compile(r"[a-z0-9_]+")


def set_my_commands(call: Call) -> Result:
    commands = [_parsed(command) for command in _array(call)]
    scope = _scope(call)
    call.bot.commands[scope] = _checked(commands)
    call.log(status=200)
    return True


def get_my_commands(call: Call) -> Result:
    return call.bot.commands.get(_scope(call), [])


def delete_my_commands(call: Call) -> Result:
    call.bot.commands.pop(_scope(call), None)
    return True


def _array(call: Call) -> list[Any]:
    raw = call.args.values.get("commands")
    try:
        commands = [] if raw in (None, "") else orjson.loads(raw) if isinstance(raw, str) else raw
    except orjson.JSONDecodeError:
        raise errors.bad_request("can't parse commands JSON object") from None
    if not isinstance(commands, list):
        raise errors.bad_request("expected an Array of BotCommand")
    return commands


def _parsed(command: Any) -> dict[str, str]:
    try:
        if isinstance(command, dict):
            return {name: json_fields.text(command, name) for name in ("command", "description")}
    except FieldError as error:
        raise errors.bad_request(f"Can't parse BotCommand: {error}") from None
    raise errors.bad_request("Can't parse BotCommand: expected an Object")


def _checked(commands: list[dict[str, str]]) -> list[dict[str, str]]:
    """Returns the commands as TDLib cleans them, checked by TDLib's rules and then by Telegram's."""
    checked = [_checked_command(**command) for command in commands]
    if len(checked) > MOST_COMMANDS:
        raise errors.bad_request("BOT_COMMANDS_TOO_MUCH")
    if not all(NAME.fullmatch(one["command"]) for one in checked):
        raise errors.bad_request("BOT_COMMAND_INVALID")
    return checked


def _checked_command(command: str, description: str) -> dict[str, str]:
    name, text = cleaned(command).strip().removeprefix("/"), cleaned(description).strip()
    if not name:
        raise errors.bad_request("Command must be non-empty")
    if len(name) > LONGEST_NAME:
        raise errors.bad_request(f"Command length must not exceed {LONGEST_NAME}")
    if not text:
        raise errors.bad_request("Command description must be non-empty")
    if len(text) > LONGEST_DESCRIPTION:
        raise errors.bad_request(f"Command description length must not exceed {LONGEST_DESCRIPTION}")
    return {"command": name, "description": text}


def _scope(call: Call) -> str:
    scope = call.args.data("scope")
    kind = scope.get("type", "default") if isinstance(scope, dict) else "default"
    chat = scope.get("chat_id", "") if isinstance(scope, dict) else ""
    return f"{kind}:{chat}:{call.args.text('language_code')}"
