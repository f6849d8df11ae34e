"""The folder of templates, TEMPLATES_DIR: a change is used within a second, or refused as a whole."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.bridge.events import templates as reading
from services.bridge.events.templates import Templates
from services.bridge.metrics import template_failures, templates_reload_failures
from services.bridge.watched_files import InvalidFileError, WatchedFiles, reason
from services.kit.health import Health
from services.kit.settings import StartError


class TemplateFolder:
    """Keeps the templates of a folder up to date.

    Args:
        folder: TEMPLATES_DIR.
        registry: of the service's metrics.

    Raises:
        StartError: the folder or a file cannot be read, or a template is invalid; one line for each fault.
    """

    def __init__(self, folder: Path, registry: CollectorRegistry) -> None:
        self.folder = folder
        self.templates = Templates({}, template_failures(registry).inc)
        failures = templates_reload_failures(registry)
        self.files = WatchedFiles(
            "templates", folder, lambda: reading.template_files(folder), self._take, failures.inc
        )
        try:
            self.files.begin()
        except (InvalidFileError, OSError) as error:
            lines = [f"TEMPLATES_DIR: {line}" for line in reason(error).splitlines()]
            raise StartError("\n".join(lines)) from error

    @property
    def error(self) -> str | None:
        """Why changed templates are not in use; None if they are."""
        return self.files.error

    def _take(self) -> Mapping[str, Any]:
        self.templates.replace(reading.read_sources(self.folder))
        return {"templates": len(self.templates.names)}


@asynccontextmanager
async def open_templates(folder: TemplateFolder | None, health: Health) -> AsyncIterator[None]:
    """Follows changes of the folder while the block runs."""
    if folder is None:
        yield
        return
    async with folder.files.followed(health):
        yield
