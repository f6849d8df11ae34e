"""Text with entities, as Telegram parses and cleans it.

`parse` does what TDLib's parseTextEntities does, `clean` what its fix_formatted_text does with the result.

- `entity`: entities, their order and nesting.
- `html`, `markdown`: the parse modes HTML and MarkdownV2.
- `request_entities`: entities given in a request.
- `detected_entities`: links, mentions, hashtags and the like that Telegram finds in a text.
- `links`: checks links.
- `date_time`: formats of date_time entities.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.telegram_sandbox.markup import detected_entities, html, markdown, request_entities
from services.telegram_sandbox.markup.entity import HIDDEN_DATA, Entity, MarkupError, in_order, normalized

__all__ = ["Formatted", "MarkupError", "clean", "parse"]

RAW_LIMIT = 1 << 15  # bytes before parsing
MAX_ENTITIES = 100
BLANK = " \n"
BLANKS = frozenset(BLANK)
DROPPED = dict.fromkeys([*range(0x2028, 0x202F), 0x0D])  # line separators, direction marks, carriage return
SPACED = {code: " " for code in range(32) if code not in (0x0A, 0x0D)}
INVISIBLE = frozenset({0x333, 0x33F, 0x30A})  # combining lines that TDLib removes
CONTROL = re.compile(f"[{''.join(map(chr, (*DROPPED, *SPACED, *INVISIBLE)))}]")


@dataclass(frozen=True, slots=True)
class Formatted:
    """Text and entities, offsets in code points."""

    text: str
    entities: list[Entity] = field(default_factory=list)

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
        return Formatted(text, request_entities.parse(text, entities) if entities else [])
    parsers = {"html": html.parse, "markdownv2": markdown.parse}
    if mode not in parsers:
        raise MarkupError("Unsupported parse_mode")
    try:
        return Formatted(*parsers[mode](text))
    except MarkupError as error:
        raise MarkupError(f"Can't parse entities: {error}") from None


def clean(formatted: Formatted) -> Formatted:
    """Trims the text, removes control characters, normalizes entities, and adds detected ones."""
    text, entities = formatted.text, normalized(formatted.entities)
    if not entities and text.isascii() and text.isprintable():
        plain = text.strip(" ")
        return Formatted(plain, detected_entities.entities(plain))
    text, entities = _without_control(text, entities)
    entities = normalized(_visible(text, entities))
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
    removed = [i for i, char in enumerate(text) if ord(char) in DROPPED or ord(char) in INVISIBLE]
    text = text.translate(SPACED)
    gone = set(removed)
    moved = []
    for entity in entities:
        begin = entity.offset - sum(1 for i in removed if i < entity.offset)
        end = entity.end - sum(1 for i in removed if i < entity.end)
        moved.append(entity.moved(begin, end))
    return "".join(char for i, char in enumerate(text) if i not in gone), moved


@dataclass(slots=True)
class _Span:
    """An entity with bounds that may still change."""

    entity: Entity
    begin: int
    end: int


def _visible(text: str, entities: list[Entity]) -> list[Entity]:
    """Moves the start of entities behind leading whitespace, and drops those of whitespace only.

    Links and code are not moved, nor are entities around them that start at the same place.
    """
    ordered = in_order(e for e in entities if e.length > 0)
    if not any(text[e.offset] in BLANKS for e in ordered):
        return ordered
    spans = [_Span(e, e.offset, e.end) for e in ordered]
    waiting, stack, last_visible = spans[::-1], list[_Span](), -1
    for at in range(len(text) + 1):
        while stack and at >= stack[-1].end:
            span = stack.pop()
            if last_visible < span.begin and span.entity.type not in HIDDEN_DATA:
                span.end = span.begin
        while waiting and at >= waiting[-1].begin:
            stack.append(waiting.pop())
        if text[at : at + 1] in BLANKS:
            _skip_blank(stack, at)
        else:
            last_visible = at
    return [span.entity.moved(span.begin, span.end) for span in spans if span.begin < span.end]


def _skip_blank(stack: list[_Span], at: int) -> None:
    """Moves the start of entities that start at a blank, from the innermost outwards."""
    for span in reversed(stack):
        if span.begin != at or span.entity.type in HIDDEN_DATA:
            return
        span.begin += 1


def _trimmed(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Removes whitespace at the end, and at the start up to the first entity."""
    if text[:1] not in BLANKS and text[-1:] not in BLANKS:
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
    blocking = [e for e in entities if e.type in HIDDEN_DATA or e.type in {"custom_emoji", "date_time"}]
    free = [n for n in new if not any(n.offset < e.end and e.offset < n.end for e in blocking)]
    return normalized([*entities, *free])


def _first_hundred(entities: list[Entity]) -> list[Entity]:
    """Drops entities of the request beyond the first hundred, as Telegram does without an error."""
    requested = [e for e in entities if e.type not in detected_entities.KINDS]
    if len(requested) <= MAX_ENTITIES:
        return entities
    dropped = {id(e) for e in requested[MAX_ENTITIES:]}
    return [e for e in entities if id(e) not in dropped]
