"""The webhook of healthchecks.io, with the JSON body that docs/ways-in.md gives. Pure."""

from typing import Any

from services.bridge.ways_in.hooks.payload import Payload, Words, event


class _Hook(Payload):
    name: Words = ""
    status: Words = ""
    tags: Words = ""
    body: Words = ""
    url: Words = ""


def read(body: bytes, kind: str) -> dict[str, Any]:  # noqa: ARG001 - it has one kind
    """The event of a check that went down, or is up again."""
    hook = _Hook.model_validate_json(body)
    down = hook.status.lower() == "down"
    return event(
        "alert_notification" if down else "status_change",
        f"{hook.name or 'A check'} is {hook.status.lower() or 'changed'}",
        f"Tags: {hook.tags}" if hook.tags else "",
        hook.body,
        url=hook.url,
        severity="high" if down else "low",
    )
