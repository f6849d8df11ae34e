"""What anyone may read of a webhook's URL: scheme, host and port; the rest may carry a secret. Pure."""

from typing import Any
from urllib.parse import urlsplit

import orjson

from services.contracts.stored import json_of


def visible_url(url: str) -> str:
    """Scheme, host and port of a URL; empty where it is none, so that nothing of it is shown."""
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def visible_event(event: Any) -> Any:
    """A posted event whose ``callback_url`` has scheme, host and port only."""
    if not isinstance(event, dict) or not isinstance(event.get("callback_url"), str):
        return event
    return event | {"callback_url": visible_url(event["callback_url"])}


def visible_body(body: str) -> str:
    """A stored body, of an event or of a bot message that shows one, with such a ``callback_url``.

    Empty where it cannot be read, so that nothing of the URL is shown.
    """
    if "callback_url" not in str(body):
        return body
    read = visible_event(json_of(body))
    if read is None:
        return ""
    if isinstance(read, dict) and "event" in read:
        read["event"] = visible_event(read["event"])
    return orjson.dumps(read).decode()
