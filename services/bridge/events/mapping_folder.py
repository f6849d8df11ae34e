"""The folder of mappings, HOOKS_DIR: a change is used within a second, or refused as a whole."""

from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.bridge.events import mappings as reading
from services.bridge.events.mappings import Mappings
from services.bridge.watched_files import InvalidFileError, WatchedFiles, reason
from services.kit.health import Health
from services.kit.settings import StartError


class MappingFolder:
    """Keeps the mappings of a folder up to date.

    Args:
        folder: HOOKS_DIR; None: there are no mappings.
        taken: sources that are read otherwise.

    Raises:
        StartError: the folder or a file cannot be read, or a mapping is invalid; one line for each fault.
    """

    def __init__(self, folder: Path | None, taken: Container[str]) -> None:
        self.mappings = Mappings({}, taken)
        self.files: WatchedFiles | None = None
        if folder is None:
            return
        self.files = WatchedFiles(
            "hook_mappings", folder, lambda: reading.mapping_files(folder), lambda: self._take(folder)
        )
        try:
            self.files.begin()
        except (InvalidFileError, OSError) as error:
            lines = [f"HOOKS_DIR: {line}" for line in reason(error).splitlines()]
            raise StartError("\n".join(lines)) from error

    def _take(self, folder: Path) -> Mapping[str, Any]:
        self.mappings.replace(reading.read_texts(folder))
        return {"mappings": len(self.mappings.names)}


@asynccontextmanager
async def open_mappings(folder: MappingFolder, health: Health) -> AsyncIterator[None]:
    """Follows changes of the folder while the block runs."""
    if folder.files is None:
        yield
        return
    async with folder.files.followed(health):
        yield
