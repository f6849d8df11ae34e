"""The URLs of a publication: buttons where Telegram takes them, else lines or `data.url`. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.bridge.ways_in.draft import fault
from services.bridge.ways_in.ntfy_actions import Link, links
from services.bridge.ways_in.ntfy_fields import Fields
from services.contracts.buttons import Button, Buttons
from services.contracts.fields import LONGEST_URL
from services.outbox.telegram.links import is_link

#: Text of the button that opens the URL of Click, and of its line.
_OPEN = "Open"
_LINE = "Link"
_URL = re.compile(r"(https?|tg)://")
_button = TypeAdapter(Button)
_rows = TypeAdapter(Buttons)


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the URLs of a publication are.

    Args:
        lines: below the text, such as ``Open: mailto:ada@example.org``.
        fields: of the event: ``buttons``, rows of one button each.
        data: fields of the event's `data`: ``url``.
    """

    lines: Sequence[str]
    fields: Mapping[str, Any]
    data: Mapping[str, Any]


def shown(fields: Fields) -> Shown:
    """Decides where each URL is shown; none is shown twice.

    Raises:
        Problem: 422, the actions cannot be read, or a URL is too long.
    """
    actions = links(fields["actions"]) if "actions" in fields else []
    click = str(fields["click"].value) if "click" in fields else ""
    _check_lengths(fields)
    opened = [Link(_OPEN, click)] if click and click not in [link.url for link in actions] else []
    wanted = [link for link in (*opened, *actions) if _is_button(link)]
    buttons = wanted if _fit(wanted) else []
    lines = [link for link in actions if link not in buttons]
    data = {}
    if opened and opened[0] not in buttons:
        # ntfy's app opens `mailto:` and others too, which are no links in Telegram.
        if _URL.match(click):
            data = {"url": click}
        else:
            lines.insert(0, Link(_LINE, click))
    if "attach" in fields:
        name = fields["filename"].value if "filename" in fields else "Attachment"
        lines.append(Link(str(name), str(fields["attach"].value)))
    rows = {"buttons": _wire(buttons)} if buttons else {}
    return Shown([f"{link.label}: {link.url}" for link in lines], rows, data)


def _check_lengths(fields: Fields) -> None:
    for name in ("click", "attach"):
        if name in fields and len(str(fields[name].value)) > LONGEST_URL:
            raise fault(fields[name].place, f"write at most {LONGEST_URL} characters")


def _wire(found: Sequence[Link]) -> list[list[dict[str, str]]]:
    return [[{"text": link.label, "url": link.url}] for link in found]


def _is_button(link: Link) -> bool:
    try:
        _button.validate_python({"text": link.label, "url": link.url})
    except ValidationError:
        return False
    return is_link(link.url)


def _fit(found: Sequence[Link]) -> bool:
    """Whether all of them are a keyboard that Telegram takes; very long URLs are not."""
    try:
        _rows.validate_python(_wire(found))
    except ValidationError:
        return False
    return True
