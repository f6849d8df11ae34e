"""Send options: the fields of an event that say how its messages are sent, beside their text. Pure."""

from typing import Any

from services.contracts.events import NewEvent
from services.contracts.fields import LinkPreview
from services.contracts.stored import json_of
from services.outbox.messages import Claimed, Origin, SendOptions
from services.outbox.telegram.links import is_link


def of(event: NewEvent) -> SendOptions:
    """The options of an event's messages."""
    preview = _preview(event.link_preview) if event.link_preview is not None else None
    return SendOptions(preview, protected=event.protect_content, pinned=event.pin)


def _preview(wanted: LinkPreview) -> dict[str, Any]:
    """LinkPreviewOptions of the Bot API; a URL that Telegram does not take leaves its own choice."""
    if not wanted.show:
        return {"is_disabled": True}
    options: dict[str, Any] = {}
    if wanted.url is not None and is_link(wanted.url):
        options["url"] = wanted.url
    if wanted.size is not None:
        options[f"prefer_{wanted.size}_media"] = True
    if wanted.above_text:
        options["show_above_text"] = True
    return options


def answered(message: Claimed) -> str | None:
    """The id of our message or event that a client's event answers; None: it answers none."""
    if message.origin is not Origin.CLIENT or '"reply_to"' not in message.body:
        return None
    event = json_of(message.body)
    wanted = event.get("reply_to") if isinstance(event, dict) else None
    return wanted.lower() if isinstance(wanted, str) else None
