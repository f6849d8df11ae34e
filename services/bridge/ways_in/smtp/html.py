"""The text of an HTML mail: what it shows, without tags, styles and scripts. Pure."""

import re

from lxml import etree

#: Elements whose text is not shown.
_HIDDEN = frozenset({"head", "script", "style", "template", "title"})
#: Elements that begin and end a line.
_LINES = re.compile(
    "address|article|blockquote|body|br|dd|div|dl|dt|footer|form|h[1-6]|header|hr|li|ol|p|pre|section|table|tr|ul"
)
_CELLS = frozenset({"td", "th"})
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")


def text_of(source: str) -> str:
    """The text of a page, with a line for each block; empty if it shows none."""
    sound = _CONTROLS.sub("", source)
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(sound.encode(errors="replace"), parser)
    except etree.LxmlError:
        return ""
    if root is None:  # it has no element
        return ""
    pieces: list[str] = []
    hidden = 0
    for step, element in etree.iterwalk(root, events=("start", "end")):
        tag, starts = element.tag, step == "start"
        if tag in _HIDDEN:
            hidden += 1 if starts else -1
        if _LINES.fullmatch(tag):
            pieces.append("\n")
        elif tag in _CELLS and starts:
            pieces.append(" ")
        said = element.text if starts else element.tail
        # The text after a hidden element is shown.
        if said and not hidden:
            pieces.append(_SPACES.sub(" ", said))
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)
