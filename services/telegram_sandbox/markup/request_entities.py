"""Entities given in a request, instead of markup: parsed as by the Bot API server, checked as by TDLib.

An invalid entity is an error here, where the same in markup is dropped: TDLib's `get_message_entities` and
`fix_formatted_text` (MessageEntity.cpp) refuse the message.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.telegram_sandbox.json_fields import FieldError, integer, text
from services.telegram_sandbox.markup import detected_entities, links
from services.telegram_sandbox.markup.characters import cleaned
from services.telegram_sandbox.markup.entity import PRIORITY, Entity, MarkupError, normalized

LARGEST = 1_000_000
DATE_FORMAT = re.compile(r"[rR]|[tTdDwW]*")


def parse(raw: Any) -> list[Entity]:
    """Parses a JSON array of entities, with offsets in UTF-16 units; another value counts as no entities.

    Raises:
        MarkupError: a field is invalid; with the Bot API server's text.
    """
    if not isinstance(raw, list):
        return []
    try:
        found = [_entity(item) for item in raw]
    except (FieldError, MarkupError) as error:
        raise MarkupError(f"Can't parse MessageEntity: {error}") from None
    return [entity for entity in found if entity is not None]


def _entity(item: Any) -> Entity | None:
    if not isinstance(item, dict):
        raise MarkupError("expected an Object")
    offset, length = integer(item, "offset"), integer(item, "length")
    kind = text(item, "type")
    if not kind:
        raise MarkupError("Type is not specified")
    if kind in detected_entities.KINDS:
        return None
    if kind not in PRIORITY:
        raise MarkupError("Unsupported type specified")
    return Entity(kind, offset, length, _extra(kind, item))


def _extra(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case "pre":
            language = text(item, "language", "")
            return {"language": language} if language else {}
        case "text_link":
            return {"url": text(item, "url")}
        case "text_mention":
            if not isinstance(user := item.get("user"), dict):
                raise MarkupError(
                    'Field "user" must be of type Object' if "user" in item else 'Can\'t find field "user"'
                )
            return {"user": {"id": integer(user, "id", bits=64)}}
        case "custom_emoji":
            return {"custom_emoji_id": str(integer(item, "custom_emoji_id", bits=64))}
        case "date_time":
            moment, letters = integer(item, "unix_time"), text(item, "date_time_format", "")
            if not DATE_FORMAT.fullmatch(letters):
                raise MarkupError("Invalid date-time format specified")
            return {"unix_time": moment, **({"date_time_format": letters} if letters else {})}
        case _:
            return {}


def placed(shown: str, given: Sequence[Entity]) -> list[Entity]:
    """Returns the entities as they nest, with offsets in code points of the text.

    Raises:
        MarkupError: TDLib refuses an entity; with its text.
    """
    entities = [_checked(entity) for entity in given]
    for entity in entities:
        if not 0 <= entity.offset <= LARGEST:
            raise MarkupError(f"Receive an entity with incorrect offset {entity.offset}")
        if not 0 <= entity.length <= LARGEST:
            raise MarkupError(f"Receive an entity with incorrect length {entity.length}")
    entities = normalized(entities)
    places, last = _places(shown)
    _check_bounds(shown, entities, places, last)
    return [entity.moved(places[entity.offset], places[entity.end]) for entity in entities]


def _checked(entity: Entity) -> Entity:
    """Returns the entity with its link or its mention of a person checked."""
    extra = entity.extra
    match entity.type:
        case "text_link":
            return _link(entity, cleaned(extra["url"]))
        case "text_mention" if not 0 < extra["user"]["id"] <= links.MAX_USER_ID:
            raise MarkupError("User not found")
        case "custom_emoji" if extra["custom_emoji_id"] == "0":
            raise MarkupError("Invalid custom emoji identifier specified")
        case "date_time" if extra["unix_time"] <= 0:
            raise MarkupError("Invalid date specified")
        case "pre" if extra:
            return Entity("pre", entity.offset, entity.length, {"language": cleaned(extra["language"])})
        case _:
            return entity


def _link(entity: Entity, url: str) -> Entity:
    if person := links.user_id(url):
        return Entity("text_mention", entity.offset, entity.length, {"user": {"id": person}})
    try:
        return Entity("text_link", entity.offset, entity.length, {"url": links.check(url)})
    except links.LinkError as error:
        raise MarkupError(f"Entity {error}") from None


def _check_bounds(
    shown: str, entities: Sequence[Entity], places: Sequence[int] | Mapping[int, int], last: int
) -> None:
    """Refuses entities that begin or end within a character, or behind the text.

    TDLib reads the text from its start, and at each character closes entities before it opens others.
    """
    wrong = [(entity.end, 0, entity) for entity in reversed(entities) if _is_within(entity.end, places, last)]
    wrong += [(entity.offset, 1, entity) for entity in entities if _is_within(entity.offset, places, last)]
    if wrong:
        at, is_begin, entity = min(wrong, key=lambda item: item[:2])
        byte = len(shown[: places[at + 1]].encode())
        what = "Entity begins" if is_begin else f"Entity beginning at UTF-16 offset {entity.offset} ends"
        raise MarkupError(f"{what} in a middle of a UTF-16 symbol at byte offset {byte}")
    if behind := next((entity for entity in entities if entity.offset > last), None):
        raise MarkupError(f"Entity begins after the end of the text at UTF-16 offset {behind.offset}")
    if longer := next((entity for entity in reversed(entities) if entity.end > last), None):
        raise MarkupError(
            f"Entity beginning at UTF-16 offset {longer.offset} ends after the end of the text "
            f"at UTF-16 offset {longer.end}"
        )


def _is_within(offset: int, places: Sequence[int] | Mapping[int, int], last: int) -> bool:
    """Returns whether the offset is between the two UTF-16 units of a character."""
    return offset < last and offset not in places


def _places(shown: str) -> tuple[Sequence[int] | Mapping[int, int], int]:
    """Returns code point indexes by UTF-16 offset, and the last offset."""
    if _LONG.search(shown) is None:
        return range(len(shown) + 1), len(shown)
    places, units = {}, 0
    for index, char in enumerate(shown):
        places[units] = index
        units += 2 if char >= FIRST_LONG else 1
    places[units] = len(shown)
    return places, units


#: From this character on, one has two UTF-16 units.
FIRST_LONG = "\U00010000"
_LONG = re.compile(f"[{FIRST_LONG}-\U0010ffff]")
