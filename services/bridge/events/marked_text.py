"""Marked text: what a library read of markup, and the text with entities that Telegram takes of it. Pure.

Telegram drops some entities without a word, such as a link in a link: its URL is then written after its text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.outbox.messages import Text
from services.outbox.telegram.links import is_link
from services.outbox.telegram.text import url_after, utf16_length

#: Entities of a description; the rest of a message has its own. Telegram ignores those beyond the hundredth.
MOST_ENTITIES = 60
_STYLES = frozenset(
    (
        *("bold", "italic", "underline", "strikethrough", "spoiler"),
        *("blockquote", "expandable_blockquote", "code", "pre"),
    )
)
#: No other entity nests in them.
_CODE = frozenset({"code", "pre"})
#: The longest name of a language that is sent with a block of code, characters.
_LONGEST_LANGUAGE = 64


class UnreadableError(Exception):
    """The text is not of its format, or a part of it would not be shown."""


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with the entities that a library found in it.

    Args:
        text: without markup.
        entities: of the Bot API; offsets and lengths are UTF-16 code units.
    """

    text: str
    entities: Sequence[Mapping[str, Any]]


def sound(marked: MarkedText) -> Text:
    """The text with entities that Telegram takes and keeps: all links lead on, or their URLs are written."""
    known = [cleaned for entity in marked.entities if (cleaned := _cleaned(entity)) is not None]
    ordered = sorted(known, key=lambda entity: (entity["offset"], -entity["length"]))
    links = [entity for entity in ordered if entity["type"] == "text_link"]
    kept = _kept(ordered, links)
    written = [(_end(link), link) for link in links if all(link is not one for one in kept)]
    return _trimmed(_with_urls(marked.text, kept, written))


def _cleaned(entity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entity with the fields of its type; None for a type that only few bots may send."""
    kind, place = entity["type"], {"offset": entity["offset"], "length": entity["length"]}
    if entity["length"] <= 0 or entity["offset"] < 0:
        return None
    if kind == "text_link":
        return {"type": kind, **place, "url": str(entity.get("url") or "")}
    if kind not in _STYLES:
        return None
    language = str(entity.get("language") or "")
    named = kind == "pre" and language.isprintable() and 0 < len(language) <= _LONGEST_LANGUAGE
    return {"type": kind, **place, **({"language": language} if named else {})}


def _kept(ordered: Sequence[dict[str, Any]], links: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entities without bad links, links in links or in code, code in links, and those above the limit."""
    code = [entity for entity in ordered if entity["type"] in _CODE]
    good = [
        link
        for number, link in enumerate(links)
        if is_link(link["url"])
        # Of two links with the same text, the library names the inner one first.
        and not any(_same(other, link) for other in links[number + 1 :])
        and not any(_holds(other, link) and not _same(other, link) for other in (*links, *code))
    ][:MOST_ENTITIES]
    styles = [
        entity
        for entity in ordered
        if entity["type"] != "text_link"
        and not (entity["type"] in _CODE and any(_holds(link, entity) for link in good))
    ]
    kept = [*good, *styles[: MOST_ENTITIES - len(good)]]
    return sorted(kept, key=lambda entity: (entity["offset"], -entity["length"]))


def _end(entity: Mapping[str, Any]) -> int:
    return int(entity["offset"] + entity["length"])


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["offset"] == other["offset"] and one["length"] == other["length"])


def _holds(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    return bool(outer["offset"] <= inner["offset"] and _end(inner) <= _end(outer))


def _with_urls(
    text: str, entities: Iterable[dict[str, Any]], links: Iterable[tuple[int, dict[str, Any]]]
) -> Text:
    """The text with the URLs of these links, each after the link's text."""
    units, kept = text.encode("utf-16-le"), [dict(entity) for entity in entities]
    for at, link in sorted(links, key=lambda item: item[0], reverse=True):
        shown = units[2 * link["offset"] : 2 * at].decode("utf-16-le", "ignore")
        added = url_after(shown, link["url"].replace("\0", ""))
        for entity in kept:
            if entity["offset"] >= at:
                entity["offset"] += utf16_length(added)
            elif _end(entity) > at:
                entity["length"] += utf16_length(added)
        units = units[: 2 * at] + added.encode("utf-16-le", "replace") + units[2 * at :]
    return Text(units.decode("utf-16-le", "replace"), tuple(kept))


def _trimmed(text: Text) -> Text:
    """The text without blank lines around it, and its entities moved."""
    start = utf16_length(text.text) - utf16_length(text.text.lstrip("\n"))
    bare = text.text.strip("\n").rstrip()
    last = utf16_length(bare)
    entities = []
    for entity in text.entities:
        left, right = max(entity["offset"] - start, 0), min(_end(entity) - start, last)
        if right > left:
            entities.append({**entity, "offset": left, "length": right - left})
    return Text(bare, tuple(entities))
