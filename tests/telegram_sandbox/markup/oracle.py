"""TDLib, the library inside the real Bot API server, as the oracle; called without a network."""

from typing import Any

import orjson
import tdjson

KINDS = {
    "PreCode": "pre",
    "TextUrl": "text_link",
    "MentionName": "text_mention",
    "BlockQuote": "blockquote",
    "ExpandableBlockQuote": "expandable_blockquote",
    "CustomEmoji": "custom_emoji",
    "DateTime": "date_time",
    "BotCommand": "bot_command",
    "EmailAddress": "email",
}
BACK = {kind: name for name, kind in KINDS.items()} | {"pre": "Pre"}
FIELDS = {
    "text_link": "url",
    "pre": "language",
    "text_mention": "user_id",
    "custom_emoji": "custom_emoji_id",
    "date_time": "unix_time",
}
Found = tuple[str, int, int, Any]


def execute(request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(tdjson.td_execute(orjson.dumps(request)) or b"")
    return answer


execute({"@type": "setLogVerbosityLevel", "new_verbosity_level": 0})


def parse(text: str, mode: dict[str, Any]) -> tuple[str, list[Found]] | str:
    """Returns TDLib's text and entities for a markup text, or its error."""
    answer = execute({"@type": "parseTextEntities", "text": text, "parse_mode": mode})
    if answer["@type"] == "error":
        return str(answer["message"])
    return answer["text"], _entities(answer["entities"])


def html(text: str) -> tuple[str, list[Found]] | str:
    return parse(text, {"@type": "textParseModeHTML"})


def markdown(text: str) -> tuple[str, list[Found]] | str:
    return parse(text, {"@type": "textParseModeMarkdown", "version": 2})


def given(text: str, entities: list[Found]) -> tuple[str, list[Found]] | str:
    """Returns what TDLib makes of a text and entities given with it, or its error; the text has no markup."""
    shown = [
        {"@type": "textEntity", "offset": offset, "length": length, "type": _type(kind, extra)}
        for kind, offset, length, extra in entities
    ]
    formatted = {"@type": "formattedText", "text": text, "entities": shown}
    answer = execute({"@type": "parseMarkdown", "text": formatted})
    if answer["@type"] == "error":
        return str(answer["message"])
    return answer["text"], _entities(answer["entities"])


def found(text: str) -> list[Found]:
    answer = execute({"@type": "getTextEntities", "text": text})
    wanted = [e for e in answer["entities"] if e["type"]["@type"] != "textEntityTypeMediaTimestamp"]
    return _entities(wanted)


def _type(kind: str, extra: Any) -> dict[str, Any]:
    name = "PreCode" if kind == "pre" and extra else BACK.get(kind, kind.capitalize())
    return {"@type": f"textEntityType{name}"} | ({FIELDS[kind]: extra} if extra else {})


def _entities(raw: list[dict[str, Any]]) -> list[Found]:
    return sorted((_entity(item) for item in raw), key=str)


def _entity(item: dict[str, Any]) -> Found:
    kind = item["type"]["@type"].removeprefix("textEntityType")
    extra = next((item["type"][name] for name in FIELDS.values() if name in item["type"]), None)
    return KINDS.get(kind, kind.lower()), item["offset"], item["length"], extra
