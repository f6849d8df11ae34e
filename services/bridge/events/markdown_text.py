"""Reads markdown (CommonMark with tables, strikethrough and task lists) by telegramify-markdown. Pure.

HTML, formulas and unused link definitions in it are plain text here: the library would leave them out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pyromark
import telegramify_markdown
from telegramify_markdown import RenderConfig
from telegramify_markdown.converter import STANDARD_OPTIONS

from services.bridge.events.marked_text import MarkedText, UnreadableError

#: A text that still has HTML or formulas after so many readings is not made for this format.
_MOST_READINGS = 8
_AS_TEXT = ("Html", "InlineHtml", "InlineMath", "DisplayMath")
_DEFINITION = re.compile(rb"^[ ]{0,3}(\[([^\]\n]+)\]):[^\n]*$", re.MULTILINE)
_OPENERS = re.compile(rb"[<$]")


def _signs() -> RenderConfig:
    """The library's signs, without pictures before headings."""
    config = RenderConfig.isolated()
    signs = config.markdown_symbol
    signs.heading_level_1 = signs.heading_level_2 = signs.heading_level_3 = signs.heading_level_4 = ""
    signs.unordered_list_item, signs.task_completed, signs.task_uncompleted = "•", "☑", "☐"
    return config


_SIGNS = _signs()


def read(source: str) -> MarkedText:
    """Reads a text.

    Raises:
        UnreadableError: the text is not made for this format.
    """
    prepared, urls = _prepared(source)
    shown, entities = telegramify_markdown.convert(prepared, latex_escape=False, config=_SIGNS)
    found = [entity.to_dict() for entity in entities]
    linked = {entity.get("url") for entity in found}
    # A table has no links: it is a block of code.
    rest = [url for url in urls if url not in linked and url not in shown]
    return MarkedText("\n".join([shown.rstrip("\n"), *dict.fromkeys(rest)]), found)


def _prepared(source: str) -> tuple[str, list[str]]:
    """The text with escapes before what is to be shown as it is, and the URLs of its links."""
    data = source.encode()
    for _ in range(_MOST_READINGS):
        events = [
            (event, place["start"], place["end"])
            for event, place in pyromark.events_with_range(data.decode(), options=STANDARD_OPTIONS)
            if isinstance(event, dict)
        ]
        escapes = sorted({*_html_and_formulas(data, events), *_unused_definitions(data, events)})
        if not escapes:
            return data.decode(), [url for event, *_ in events if (url := _url(event))]
        bounds = [0, *escapes, len(data)]
        data = b"\\".join(data[a:b] for a, b in pairwise(bounds))
    raise UnreadableError("it has HTML in HTML, or formulas in formulas")


_Events = Sequence[tuple[Mapping[str, object], int, int]]


def _html_and_formulas(data: bytes, events: _Events) -> Iterator[int]:
    for event, start, end in events:
        if not any(kind in event for kind in _AS_TEXT):
            continue
        yield from (found.start() for found in _OPENERS.finditer(data, start, end))


def _unused_definitions(data: bytes, events: _Events) -> Iterator[int]:
    """Lines such as ``[ERROR]: timeout``, which define a link that nothing uses."""
    code = [(start, end) for event, start, end in events if "CodeBlock" in _started(event)]
    for found in _DEFINITION.finditer(data):
        used = data.lower().count(found[1].lower()) > 1
        if not used and not any(start <= found.start() < end for start, end in code):
            yield found.start(1)


def _started(event: Mapping[str, object]) -> Mapping[str, object]:
    start = event.get("Start")
    return start if isinstance(start, dict) else {}


def _url(event: Mapping[str, object]) -> str:
    for kind in ("Link", "Image"):
        link = _started(event).get(kind)
        if isinstance(link, dict):
            return str(link.get("dest_url", ""))
    return ""
