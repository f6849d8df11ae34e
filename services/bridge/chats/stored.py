"""The settings of a chat as they are stored: reads them, and merges changes. Pure."""

from typing import Any

import orjson
from pydantic import ValidationError

from services.contracts.chats import ChatChanges, ChatSettings, QuietHours


def read(stored: str | None) -> ChatSettings:
    """The settings of the stored text. Today's limits do not apply to what an earlier version accepted.

    What cannot be read has its default: it must not fail a list of chats.
    """
    written = _object(stored)
    defaults = ChatSettings()
    name, zone = (written.get(field, getattr(defaults, field)) for field in ("name", "time_zone"))
    return ChatSettings.model_construct(
        name=name if isinstance(name, str) else defaults.name,
        time_zone=zone if isinstance(zone, str) else defaults.time_zone,
        quiet_hours=_hours(written.get("quiet_hours")),
    )


def _object(stored: str | None) -> dict[str, Any]:
    try:
        written = orjson.loads(stored or "{}")
    except ValueError:
        return {}
    return written if isinstance(written, dict) else {}


def _hours(written: Any) -> QuietHours | None:
    try:
        return None if written is None else QuietHours.model_validate(written)
    except ValidationError:
        return None


def changed(stored: str | None, changes: ChatChanges) -> str:
    """The stored text with the given fields changed; null sets a field to its default."""
    defaults = ChatSettings()
    given = {
        name: getattr(defaults if getattr(changes, name) is None else changes, name)
        for name in changes.model_fields_set
    }
    return read(stored).model_copy(update=given).model_dump_json(by_alias=True)
