"""Templates: a team's own wording of events, one file a type, in a folder of theirs.

``TEMPLATES_DIR/task_completion.txt`` replaces our wording of that type, ``default.txt`` that of all
others. A template is Jinja2 in its sandbox; what would be markup elsewhere are filters that become
entities, so no value can break anything:

    {{ title|bold }} took {{ data.duration_ms / 1000 }} s
    {% if data.error_message %}{{ data.error_message|pre }}{% endif %}
    {{ 'Open the build'|link(data.url) }}
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from jinja2 import ChainableUndefined, TemplateSyntaxError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from services.contracts.events import CATEGORY_OF
from services.kit.settings import StartError
from services.outbox.messages import Text
from services.outbox.telegram.text import is_blank, utf16_length

log = structlog.get_logger()

DEFAULT = "default"
# Surrogates stand for the bounds of an entity: none is in a value, for JSON cannot carry them alone.
# Each begin has a character of its own, so that a template which cuts what it marked shows no rest of it.
_BEGIN, _END = 0xD800, "\udc00"
_MOST_MARKS = 0x400
_BOUNDS = re.compile("([\ud800-\udfff])")


class TemplateFailedError(Exception):
    """The template could not be filled in with this event; the text says why."""


class Templates:
    """The templates of a folder, compiled.

    Args:
        sources: event type, or ``default`` → template text.

    Raises:
        StartError: a template is no Jinja2, or is named after no type; one line each.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        environment = SandboxedEnvironment(
            undefined=ChainableUndefined, finalize=_shown, keep_trailing_newline=False, autoescape=False
        )
        environment.filters |= _FILTERS
        faults = [f"TEMPLATES_DIR: {name}.txt: no event type has this name" for name in _unknown(sources)]
        self._templates = {}
        for name, source in sources.items():
            try:
                self._templates[name] = environment.from_string(source)
            except TemplateSyntaxError as error:
                faults.append(f"TEMPLATES_DIR: {name}.txt, line {error.lineno}: {error.message}")
        if faults:
            raise StartError("\n".join(faults))

    def __contains__(self, kind: str) -> bool:
        return kind in self._templates or DEFAULT in self._templates

    def words_itself(self, kind: str) -> bool:
        """Whether the type has a template of its own."""
        return kind in self._templates

    def fill(self, kind: str, values: Mapping[str, Any]) -> Text:
        """Values in the words of their template.

        Args:
            kind: the type of the event.
            values: what the template may use, as JSON has it.

        Raises:
            TemplateFailedError: the template fails with these values, or leaves nothing to show.
        """
        entities: list[dict[str, Any]] = []
        template = self._templates.get(kind) or self._templates[DEFAULT]
        try:
            filled = template.render({**values, _ENTITIES: entities})
        except Exception as error:
            # A template is a program of other people's: whatever it meets, the event has words of ours.
            raise TemplateFailedError(f"{type(error).__name__}: {error}") from error
        text = _built(filled, entities)
        if is_blank(text.text):
            raise TemplateFailedError("the template leaves nothing to show")
        return text


def worded(templates: Templates | None, kind: str, values: Mapping[str, Any], about: str) -> Text | None:
    """Values in a team's own words; None where it has none for them, or its template fails with them.

    Args:
        templates: of the team.
        kind: the type of the event.
        values: what the template may use.
        about: id of the message or question, for the log.
    """
    if templates is None or kind not in templates:
        return None
    try:
        return templates.fill(kind, values)
    except TemplateFailedError as error:
        log.warning("template_failed", type=kind, about=about, error=str(error))
        return None


# Where a filling collects its entities: a name that no template can spell.
_ENTITIES = " entities"


def _mark(context: Context, value: object, kind: str, **more: object) -> str:
    """The value between bounds; the first says which entity they bound."""
    entities: list[dict[str, Any]] = context[_ENTITIES]
    if len(entities) == _MOST_MARKS:
        return _shown(value)
    entities.append({"type": kind, **{name: str(part) for name, part in more.items() if part}})
    return f"{chr(_BEGIN + len(entities) - 1)}{_shown(value)}{_END}"


# Filters of the context are run at every filling; others, of a constant, only once, at compiling.
def _simple(kind: str) -> Any:
    return pass_context(lambda context, value: _mark(context, value, kind))


_FILTERS: dict[str, Any] = {
    "bold": _simple("bold"),
    "italic": _simple("italic"),
    "code": _simple("code"),
    "pre": pass_context(lambda context, value, language="": _mark(context, value, "pre", language=language)),
    "link": pass_context(lambda context, value, url: _mark(context, value, "text_link", url=url)),
}


def load_templates(folder: Path | None) -> Templates | None:
    """The templates of a folder; None where there is none.

    Raises:
        StartError: the folder or a file cannot be read, or a template is wrong.
    """
    if folder is None:
        return None
    try:
        # Besides, there is what editors, version control and mounted folders leave.
        found = [path for path in sorted(folder.iterdir()) if path.suffix == ".txt"]
        return Templates({path.stem: path.read_text(encoding="utf-8") for path in found})
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"TEMPLATES_DIR: cannot read {folder}: {error}") from error


def _unknown(names: Mapping[str, str]) -> list[str]:
    return [name for name in names if name not in CATEGORY_OF and name != DEFAULT]


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _built(filled: str, kinds: list[dict[str, Any]]) -> Text:
    """The text without bounds, and an entity for each pair of them."""
    pieces: list[str] = []
    entities: list[dict[str, Any]] = []
    began: list[tuple[int, int]] = []
    at = 0
    for piece in _BOUNDS.split(filled.strip()):
        if not _BOUNDS.match(piece):
            text = piece.replace("\0", "")
            pieces.append(text)
            at += utf16_length(text)
        elif (number := ord(piece) - _BEGIN) < len(kinds):
            began.append((number, at))
        elif began:
            # A template that cuts what it marked may lose a bound: the text is what counts.
            number, start = began.pop()
            entities.append({**kinds[number], "offset": start, "length": at - start})
    shown = [entity for entity in entities if entity["length"] and _is_sound(entity)]
    return Text("".join(pieces), tuple(sorted(shown, key=lambda entity: entity["offset"])))


def _is_sound(entity: Mapping[str, Any]) -> bool:
    """Telegram refuses a link to anything but these; its text is shown all the same."""
    return entity["type"] != "text_link" or str(entity.get("url", "")).startswith(
        ("http://", "https://", "tg://")
    )
