"""The operator's own readers of webhooks: `HOOKS_DIR/{source}.json.j2`, Jinja2 that writes an event as JSON.

{"type": "status_change", "title": {{ payload.name|tojson }}, "severity": "high"}
"""

import json
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from services.bridge.watched_files import InvalidFileError
from services.kit.errors import Problem, invalid_input

SUFFIX = ".json.j2"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class BadMappingsError(InvalidFileError):
    """Mappings are invalid; the text has one line for each fault."""


class Mappings:
    """Compiled mappings.

    Args:
        texts: the text of a mapping, by source.
        taken: sources that are read otherwise.

    Raises:
        BadMappingsError: a mapping or its name is invalid.
    """

    def __init__(self, texts: Mapping[str, str], taken: Container[str] = ()) -> None:
        self._taken = taken
        self._templates = _compiled(texts, taken)

    @property
    def names(self) -> list[str]:
        """The sources that have a mapping; sorted."""
        return sorted(self._templates)

    def replace(self, texts: Mapping[str, str]) -> None:
        """Uses other mappings from now on.

        Raises:
            BadMappingsError: a mapping or its name is invalid; the present ones stay.
        """
        self._templates = _compiled(texts, self._taken)

    def __contains__(self, source: str) -> bool:
        return source in self._templates

    def read(self, source: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """The fields of an event.

        Raises:
            Problem: 422, the body is not JSON, the mapping fails, or what it writes is no JSON object.
        """
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _fault("body", f"the body is not JSON: {error}") from None
        try:
            written = self._templates[source].render(payload=payload, headers=headers)
        except Exception as error:
            # A mapping is foreign code and may raise anything.
            raise _fault("mapping", f"the mapping failed: {type(error).__name__}: {error}") from error
        try:
            found = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise _fault("mapping", f"the mapping wrote no JSON: {error}") from None
        if not isinstance(found, dict):
            raise _fault("mapping", "the mapping wrote no JSON object")
        return found


def _compiled(texts: Mapping[str, str], taken: Container[str]) -> dict[str, Template]:
    environment = SandboxedEnvironment(undefined=ChainableUndefined, autoescape=False)
    environment.filters["tojson"] = _as_json
    compiled: dict[str, Template] = {}
    faults = []
    for source, text in texts.items():
        try:
            if not NAME.fullmatch(source) or source in taken:
                faults.append(f"{source}{SUFFIX}: no source can have this name")
            compiled[source] = environment.from_string(text)
        except TemplateSyntaxError as error:
            faults.append(f"{source}{SUFFIX}, line {error.lineno}: {error.message}")
        except (SyntaxError, RecursionError, MemoryError) as error:  # of the Python that Jinja makes of it
            faults.append(f"{source}{SUFFIX}: it is nested too deeply ({type(error).__name__}: {error})")
    if faults:
        raise BadMappingsError("\n".join(faults))
    return compiled


def _as_json(value: object) -> str:
    """A value as JSON; a missing one is null."""
    return json.dumps(None if isinstance(value, ChainableUndefined) else value)


def _fault(place: str, message: str) -> Problem:
    return invalid_input([{"loc": [place], "msg": message}])


def mapping_files(folder: Path) -> list[Path]:
    """The files of a folder that are mappings, by name.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in sorted(folder.iterdir()) if path.name.endswith(SUFFIX)]


def read_texts(folder: Path) -> dict[str, str]:
    """The texts of a folder's mappings, by source.

    Raises:
        BadMappingsError: a file is no text.
        OSError: the folder or a file cannot be read.
    """
    texts = {}
    for path in mapping_files(folder):
        try:
            texts[path.name.removesuffix(SUFFIX)] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise BadMappingsError(f"{path.name}: it is not UTF-8 text") from None
    return texts
