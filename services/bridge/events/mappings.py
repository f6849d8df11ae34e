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

from services.kit.errors import Problem, invalid_input
from services.kit.settings import StartError

SUFFIX = ".json.j2"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Mappings:
    """Compiled mappings.

    Args:
        texts: the text of a mapping, by source.
        taken: sources that are read otherwise.

    Raises:
        StartError: a mapping or its name is invalid; one line for each.
    """

    def __init__(self, texts: Mapping[str, str], taken: Container[str] = ()) -> None:
        environment = SandboxedEnvironment(undefined=ChainableUndefined, autoescape=False)
        environment.filters["tojson"] = _as_json
        self._templates: dict[str, Template] = {}
        faults = []
        for source, text in texts.items():
            try:
                if not NAME.fullmatch(source) or source in taken:
                    faults.append(f"HOOKS_DIR: {source}{SUFFIX}: no source can have this name")
                self._templates[source] = environment.from_string(text)
            except TemplateSyntaxError as error:
                faults.append(f"HOOKS_DIR: {source}{SUFFIX}, line {error.lineno}: {error.message}")
        if faults:
            raise StartError("\n".join(faults))

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


def _as_json(value: object) -> str:
    """A value as JSON; a missing one is null."""
    return json.dumps(None if isinstance(value, ChainableUndefined) else value)


def _fault(place: str, message: str) -> Problem:
    return invalid_input([{"loc": [place], "msg": message}])


def load_mappings(folder: Path | None, taken: Container[str]) -> Mappings:
    """The mappings of a folder; none without a folder.

    Args:
        folder: HOOKS_DIR.
        taken: sources that are read otherwise.

    Raises:
        StartError: the folder or a file cannot be read, or a mapping is invalid.
    """
    if folder is None:
        return Mappings({}, taken)
    try:
        found = [path for path in sorted(folder.iterdir()) if path.name.endswith(SUFFIX)]
        texts = {path.name.removesuffix(SUFFIX): path.read_text(encoding="utf-8") for path in found}
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"HOOKS_DIR: cannot read {folder}: {error}") from error
    return Mappings(texts, taken)
