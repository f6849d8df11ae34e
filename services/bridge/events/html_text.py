"""Reads HTML by html5lib and sulguk: Telegram's tags, and lists, headings, paragraphs and rules. Pure."""

import warnings

from html5lib import HTMLParser, getTreeBuilder
from html5lib.constants import DataLossWarning
from lxml import etree
from sulguk.render import State
from sulguk.walker import Walker

from services.bridge.events.marked_text import MarkedText, UnreadableError

#: Most tags: the parser's time grows with the square of their number.
_MOST_TAGS = 150
#: Most elements within one another: the library calls itself for each.
_DEEPEST = 40
#: Most digits of a list's numbers: as a Roman numeral a long one fills the memory.
_MOST_DIGITS = 3
#: Tags that end a line. Without one of them the line ends of the text count, as in Telegram's own HTML.
_BREAKS = frozenset(("br", "p", "div", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "section"))
#: Telegram shows control characters as spaces; XML has none.
_SPACED = {code: " " for code in range(0x20) if chr(code) not in "\t\n\r"}
#: Errors of the parser after which a part of the text is missing.
_LOSING = (
    "eof-in",
    "but-got-eof",
    "expected-tag-name-but-got-question-mark",
    "expected-closing-tag-but-got-char",
    "expected-dashes-or-doctype",
)
_HARMLESS = ("expected-doctype-but-got-eof", "expected-closing-tag-but-got-eof")


def read(source: str) -> MarkedText:
    """Reads a text.

    Raises:
        UnreadableError: the text has a tag that cannot be shown, or is not made for this format.
        ValueError: the same, by the library.
    """
    if source.count("<") > _MOST_TAGS:
        raise UnreadableError(f"it has more than {_MOST_TAGS} tags")
    tree = _parsed(source.translate(_SPACED))
    root = tree.getroot()
    etree.strip_tags(root, etree.Comment)
    _check(root)
    if not any(element.tag in _BREAKS for element in root.iter()):
        _keep_line_ends(root)
    state = State()
    Walker().walk(tree).render(state)
    return MarkedText(state.canvas.text, [dict(entity) for entity in state.entities])


def _parsed(source: str) -> etree._ElementTree:
    parser = HTMLParser(getTreeBuilder("lxml"), namespaceHTMLElements=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataLossWarning)
            tree = parser.parse(source)
    except DataLossWarning as error:
        raise UnreadableError(str(error)) from error
    if any(_is_losing(code) for _, code, _ in parser.errors):
        raise UnreadableError("a tag is not complete")
    return tree


def _is_losing(code: str) -> bool:
    return code not in _HARMLESS and any(part in code for part in _LOSING)


def _check(root: etree._Element) -> None:
    depths = {root: 1}
    for element in root.iterdescendants():
        depths[element] = depths[element.getparent()] + 1
        if depths[element] > _DEEPEST:
            raise UnreadableError(f"it has more than {_DEEPEST} levels")
        for number in (element.get("start", ""), element.get("value", "")):
            if element.tag in ("ol", "li") and len(number) > _MOST_DIGITS:
                raise UnreadableError(f"a list's number has more than {_MOST_DIGITS} digits")


def _keep_line_ends(root: etree._Element) -> None:
    """Puts a break at each line end outside ``pre``."""
    for element in list(root.iter()):
        inside = any(outer.tag == "pre" for outer in element.iterancestors())
        if not inside and element.tag != "pre":
            first, *lines = (element.text or "").split("\n")
            element.text = first
            for line in reversed(lines):
                element.insert(0, _break(element, line))
        parent = element.getparent()
        if parent is not None and not inside:
            first, *lines = (element.tail or "").split("\n")
            element.tail = first
            place = parent.index(element)
            for line in reversed(lines):
                parent.insert(place + 1, _break(element, line))


def _break(near: etree._Element, tail: str) -> etree._Element:
    made = near.makeelement("br")
    made.tail = tail
    return made
