"""Text with entities, as Telegram parses and cleans it.

`parse` does what TDLib's parseTextEntities does, `clean` what its fix_formatted_text does with the result.

- `entity`: entities, their order and nesting.
- `html`, `markdown`: the parse modes HTML and MarkdownV2.
- `request_entities`: entities given in a request.
- `detected_entities`: links, mentions, hashtags and the like that Telegram finds in a text.
- `links`: checks links. `characters`: what Telegram replaces, removes, or does not show.
- `date_time`: formats of date_time entities.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.telegram_sandbox.markup import detected_entities, html, markdown, request_entities
from services.telegram_sandbox.markup.characters import CONTROL, REMOVED, SPACED, is_empty, single_marks
from services.telegram_sandbox.markup.entity import NO_DETECTION, Entity, MarkupError, in_order, normalized

__all__ = ["Formatted", "MarkupError", "clean", "is_empty", "parse"]

RAW_LIMIT = 1 << 15  # bytes before parsing
MAX_ENTITIES = 100
BLANK = " \n"
BLANKS = tuple(BLANK)


@dataclass(frozen=True, slots=True)
class Formatted:
    """Text and entities, offsets in code points.

    `given` are entities of a request that `clean` still has to check, offsets in UTF-16 units.
    """

    text: str
    entities: list[Entity] = field(default_factory=list)
    given: Sequence[Entity] = ()

    def wire(self, user: Callable[[int], dict[str, Any] | None] = lambda _id: None) -> list[dict[str, Any]]:
        """Returns Bot API entities, offsets in UTF-16 units; drops a mention if `user` returns None."""
        shown = []
        for entity in self.entities:
            extra = entity.extra
            if entity.type == "text_mention" and (person := user(extra["user"]["id"])) is not None:
                extra = {"user": person}
            elif entity.type == "text_mention":
                continue
            begin = _units(self.text[: entity.offset])
            length = _units(self.text[entity.offset : entity.end])
            shown.append({"type": entity.type, "offset": begin, "length": length, **extra})
        return shown


def parse(text: str, parse_mode: str, entities: Any) -> Formatted:
    """Parses a request's text with its parse mode or its entities.

    Raises:
        MarkupError: they are invalid; with Telegram's text.
    """
    if not text.isascii():
        _check_unicode(text)
    if len(text) * 4 > RAW_LIMIT and len(text.encode()) > RAW_LIMIT:
        raise MarkupError("Text is too long")
    mode = parse_mode.lower()
    if not text or mode in ("", "none"):
        return Formatted(text, given=request_entities.parse(entities))
    parsers = {"html": html.parse, "markdownv2": markdown.parse}
    if mode not in parsers:
        raise MarkupError("Unsupported parse_mode")
    try:
        return Formatted(*parsers[mode](text))
    except MarkupError as error:
        raise MarkupError(f"Can't parse entities: {error}") from None


def clean(formatted: Formatted) -> Formatted:
    """Trims the text, removes control characters, normalizes entities, and adds detected ones.

    Raises:
        MarkupError: an entity of the request is invalid, or not within the text; with TDLib's text.
    """
    text, entities = formatted.text, normalized(formatted.entities)
    if formatted.given:
        entities = request_entities.placed(text, formatted.given)
    if not entities and text.isascii() and text.isprintable():
        plain = text.strip(" ")
        return Formatted(plain, detected_entities.entities(plain))
    text, entities = _without_control(text, entities)
    text = single_marks(text)
    entities = normalized(entities)
    text, entities = _trimmed(text, entities)
    entities = _merged(text, entities)
    return Formatted(text, _first_hundred(entities))


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MarkupError("Strings must be encoded in UTF-8") from None


def _without_control(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Replaces control characters by spaces and removes invisible ones; moves the entities accordingly."""
    if CONTROL.search(text) is None:
        return text, entities
    removed = [i for i, char in enumerate(text) if ord(char) in REMOVED]
    text = text.translate(SPACED)
    gone = set(removed)
    moved = []
    for entity in entities:
        begin = entity.offset - sum(1 for i in removed if i < entity.offset)
        end = entity.end - sum(1 for i in removed if i < entity.end)
        moved.append(entity.moved(begin, end))
    return "".join(char for i, char in enumerate(text) if i not in gone), moved


def _trimmed(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Removes whitespace at the end, and at the start up to the first entity."""
    if not text.startswith(BLANKS) and not text.endswith(BLANKS):
        return text, entities
    end = len(text.rstrip(BLANK))
    entities = [e.moved(e.offset, min(e.end, end)) for e in entities if e.offset < end]
    first = min((e.offset for e in entities), default=end)
    begin = min(first, len(text) - len(text.lstrip(BLANK))) if end else 0
    return text[begin:end], in_order(e.moved(e.offset - begin, e.end - begin) for e in entities)


def _merged(text: str, entities: list[Entity]) -> list[Entity]:
    """Adds detected entities that do not overlap code, links, mentions, emoji or times."""
    new = detected_entities.entities(text)
    if not new:
        return entities
    blocking = [e for e in entities if e.type in NO_DETECTION]
    free = [n for n in new if not any(n.offset < e.end and e.offset < n.end for e in blocking)]
    return normalized([*entities, *free])


def _first_hundred(entities: list[Entity]) -> list[Entity]:
    """Drops entities of the request beyond the first hundred, as Telegram does without an error."""
    requested = [e for e in entities if e.type not in detected_entities.KINDS]
    if len(requested) <= MAX_ENTITIES:
        return entities
    dropped = {id(e) for e in requested[MAX_ENTITIES:]}
    return [e for e in entities if id(e) not in dropped]
