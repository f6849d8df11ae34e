"""The settings of a chat as they are stored: reads them, and merges changes. Pure."""

import orjson

from services.contracts.chats import ChatChanges, ChatSettings, QuietHours


def read(stored: str | None) -> ChatSettings:
    """The settings of the stored text. Today's limits do not apply to what an earlier version accepted."""
    written = orjson.loads(stored or "{}")
    hours = written.get("quiet_hours")
    defaults = ChatSettings()
    return ChatSettings.model_construct(
        name=written.get("name", defaults.name),
        time_zone=written.get("time_zone", defaults.time_zone),
        quiet_hours=None if hours is None else QuietHours.model_validate(hours),
    )


def changed(stored: str | None, changes: ChatChanges) -> str:
    """The stored text with the given fields changed; null sets a field to its default."""
    defaults = ChatSettings()
    given = {
        name: getattr(defaults if getattr(changes, name) is None else changes, name)
        for name in changes.model_fields_set
    }
    return read(stored).model_copy(update=given).model_dump_json(by_alias=True)
