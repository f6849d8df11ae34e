"""Entities given in a request, instead of markup."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.telegram_sandbox.markup import detected_entities, html, links
from services.telegram_sandbox.markup.date_time import date_time
from services.telegram_sandbox.markup.entity import PRIORITY, Entity, MarkupError

LARGEST = 1_000_000


def parse(text: str, raw: Any) -> list[Entity]:
    """Parses a JSON array of entities; another value counts as no entities, as with Telegram.

    Raises:
        MarkupError: an entity is invalid, or not within the text.
    """
    if not isinstance(raw, list):
        return []
    places, last = _places(text)
    entities = []
    for item in raw:
        try:
            entity = _entity(item)
        except MarkupError as error:
            raise MarkupError(f"Can't parse MessageEntity: {error}") from None
        if entity is not None and entity.length > 0:
            entities.append(_placed(entity, places, last))
    return entities


def _entity(item: Any) -> Entity | None:
    if not isinstance(item, dict):
        raise MarkupError("expected an Object")
    offset, length = (_integer(item, name) for name in ("offset", "length"))
    kind = item.get("type")
    if not isinstance(kind, str):
        raise MarkupError(
            'can\'t find field "type"' if kind is None else 'field "type" must be of type String'
        )
    if not kind:
        raise MarkupError("Type is not specified")
    if kind in detected_entities.KINDS:
        return None
    if kind not in PRIORITY:
        raise MarkupError("Unsupported type specified")
    return Entity(kind, offset, length, _extra(kind, item)) if _is_valid_link(kind, item) else None


def _integer(item: dict[str, Any], name: str) -> int:
    value = item.get(name)
    if value is None:
        raise MarkupError(f'can\'t find field "{name}"')
    if isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MarkupError(f'field "{name}" must be of type Number')
    return value


def _is_valid_link(kind: str, item: dict[str, Any]) -> bool:
    """Returns False for a text_link that Telegram drops because of its URL."""
    return kind != "text_link" or links.user_id(_string(item, "url")) is not None or bool(_url(item))


def _extra(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case "pre" if item.get("language"):
            return {"language": _string(item, "language")}
        case "text_link":
            return {"url": _url(item)}
        case "text_mention":
            user = item.get("user")
            if not isinstance(user, dict):
                raise MarkupError('can\'t find field "user"')
            return {"user": {"id": _integer(user, "id")}}
        case "custom_emoji":
            return html.emoji(_string(item, "custom_emoji_id"))
        case "date_time":
            letters = item.get("date_time_format") or ""
            return date_time(str(_integer(item, "unix_time")), str(letters))
        case _:
            return {}


def _string(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise MarkupError(f'can\'t find field "{name}"')
    return value


def _url(item: dict[str, Any]) -> str | None:
    return links.checked(_string(item, "url"))


def _places(text: str) -> tuple[Sequence[int] | Mapping[int, int], int]:
    """Returns code point indexes by UTF-16 offset, and the last offset."""
    if _LONG.search(text) is None:
        return range(len(text) + 1), len(text)
    places, units = {}, 0
    for index, char in enumerate(text):
        places[units] = index
        units += 2 if char >= FIRST_LONG else 1
    places[units] = len(text)
    return places, units


#: From this character on, one has two UTF-16 units.
FIRST_LONG = "\U00010000"
_LONG = re.compile(f"[{FIRST_LONG}-\U0010ffff]")


def _placed(entity: Entity, places: Sequence[int] | Mapping[int, int], last: int) -> Entity:
    if not 0 <= entity.offset <= LARGEST:
        raise MarkupError(f"Receive an entity with incorrect offset {entity.offset}")
    if not 0 <= entity.length <= LARGEST:
        raise MarkupError(f"Receive an entity with incorrect length {entity.length}")
    if entity.offset >= last:
        raise MarkupError(f"Entity begins after the end of the text at UTF-16 offset {entity.offset}")
    if entity.end > last:
        raise MarkupError(
            f"Entity beginning at UTF-16 offset {entity.offset} ends after the end of the text "
            f"at UTF-16 offset {entity.end}"
        )
    if entity.offset not in places:
        raise MarkupError(f"Entity begins in a middle of a UTF-16 symbol at byte offset {entity.offset}")
    if entity.end not in places:
        raise MarkupError(f"Entity ends in a middle of a UTF-16 symbol at byte offset {entity.end}")
    return entity.moved(places[entity.offset], places[entity.end])
