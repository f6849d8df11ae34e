"""Templates: the operator's own texts of events, one file per event type.

``TEMPLATES_DIR/task_completion.txt`` replaces the built-in text of that type, ``default.txt`` that of all
others. A template is Jinja2 in its sandbox. Filters become entities instead of markup, so no value can break
the text:

    {{ title|bold }} took {{ data.duration_ms / 1000 }} s
    {% if data.error_message %}{{ data.error_message|pre }}{% endif %}
    {{ 'Open the build'|link(data.url) }}
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from jinja2 import ChainableUndefined, Template, TemplateSyntaxError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from services.bridge.watched_files import InvalidFileError
from services.contracts.events import CATEGORY_OF
from services.contracts.fields import is_blank
from services.outbox.messages import Text
from services.outbox.telegram.links import is_link
from services.outbox.telegram.text import url_after, utf16_length

log = structlog.get_logger()

DEFAULT = "default"
# Lone surrogates mark the bounds of an entity: no value has one, since JSON cannot carry them. Each begin has
# its own character, so that a template that cuts marked text leaves no visible rest of the mark.
_BEGIN, _END = 0xD800, "\udc00"
_MOST_MARKS = 0x400
_BOUNDS = re.compile("([\ud800-\udfff])")


class TemplateFailedError(Exception):
    """The template failed with this event; the text says why."""


class BadTemplatesError(InvalidFileError):
    """Templates are invalid; the text has one line for each fault."""


class Templates:
    """Compiled templates.

    Args:
        sources: template text by event type, or by ``default``.
        on_failure: called when a template fails and the built-in text is used.

    Raises:
        BadTemplatesError: a template is invalid, or its name is no event type.
    """

    def __init__(self, sources: Mapping[str, str], on_failure: Callable[[], None] = lambda: None) -> None:
        self.on_failure = on_failure
        self._templates = _compiled(sources)

    @property
    def names(self) -> list[str]:
        """The event types that have a template, and ``default``; sorted."""
        return sorted(self._templates)

    def replace(self, sources: Mapping[str, str]) -> None:
        """Uses other templates from now on.

        Raises:
            BadTemplatesError: a template is invalid, or its name is no event type; the present ones stay.
        """
        self._templates = _compiled(sources)

    def __contains__(self, kind: str) -> bool:
        return kind in self._templates or DEFAULT in self._templates

    def name_for(self, kind: str) -> str | None:
        """The template of an event type: its own, else ``default``; None if there is neither."""
        return kind if kind in self._templates else DEFAULT if DEFAULT in self._templates else None

    def words_itself(self, kind: str) -> bool:
        """Whether the type has its own template."""
        return kind in self._templates

    def fill(self, kind: str, values: Mapping[str, Any]) -> Text:
        """The text of a template filled with values.

        Args:
            kind: the event type.
            values: JSON values that the template may use.

        Raises:
            TemplateFailedError: the template fails with these values, or its text is blank.
        """
        entities: list[dict[str, Any]] = []
        template = self._templates.get(kind) or self._templates[DEFAULT]
        try:
            filled = template.render({**values, _ENTITIES: entities})
        except Exception as error:
            # A template is foreign code and may raise anything; the event then gets the built-in text.
            raise TemplateFailedError(f"{type(error).__name__}: {error}") from error
        text = _built(filled, entities)
        if is_blank(text.text):
            raise TemplateFailedError("the template's text is blank")
        return text


def worded(templates: Templates | None, kind: str, values: Mapping[str, Any], about: str) -> Text | None:
    """The operator's own text; None if there is no template for it, or the template fails.

    Args:
        templates: the operator's.
        kind: the event type.
        values: JSON values that the template may use.
        about: ID of the message or approval, for the log.
    """
    if templates is None or kind not in templates:
        return None
    try:
        return templates.fill(kind, values)
    except TemplateFailedError as error:
        templates.on_failure()
        log.warning("template_failed", type=kind, about=about, error=str(error))
        return None


# The variable that collects entities while a template is filled; no template can spell this name.
_ENTITIES = " entities"


def _mark(context: Context, value: object, kind: str, **more: object) -> str:
    """The value between two marks; the first mark identifies the entity."""
    entities: list[dict[str, Any]] = context[_ENTITIES]
    # The value may be marked itself, as in link(data.url|bold): a URL has no marks.
    extra = {name: _BOUNDS.sub("", str(part)) for name, part in more.items() if part}
    if len(entities) == _MOST_MARKS:
        return _shown(value) + url_after(_shown(value), extra.get("url", ""))
    entities.append({"type": kind, **extra})
    return f"{chr(_BEGIN + len(entities) - 1)}{_shown(value)}{_END}"


# Filters that use the context run each time; others run once, at compilation, for a constant.
def _simple(kind: str) -> Any:
    return pass_context(lambda context, value: _mark(context, value, kind))


_FILTERS: dict[str, Any] = {
    "bold": _simple("bold"),
    "italic": _simple("italic"),
    "code": _simple("code"),
    "pre": pass_context(lambda context, value, language="": _mark(context, value, "pre", language=language)),
    "link": pass_context(lambda context, value, url: _mark(context, value, "text_link", url=url)),
}


def _compiled(sources: Mapping[str, str]) -> dict[str, Template]:
    environment = SandboxedEnvironment(
        undefined=ChainableUndefined, finalize=_shown, keep_trailing_newline=False, autoescape=False
    )
    environment.filters |= _FILTERS
    faults = [f"{name}.txt: no event type has this name" for name in _unknown(sources)]
    found = {}
    for name, source in sources.items():
        try:
            found[name] = environment.from_string(source)
        except TemplateSyntaxError as error:
            faults.append(f"{name}.txt, line {error.lineno}: {error.message}")
        except (SyntaxError, RecursionError, MemoryError) as error:  # of the Python that Jinja makes of it
            faults.append(f"{name}.txt: it is nested too deeply ({type(error).__name__}: {error})")
    if faults:
        raise BadTemplatesError("\n".join(faults))
    return found


def template_files(folder: Path) -> list[Path]:
    """The files of a folder that are templates; others are of editors, version control and mounted folders.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in sorted(folder.iterdir()) if path.suffix == ".txt"]


def read_sources(folder: Path) -> dict[str, str]:
    """The texts of the templates of a folder, by event type or ``default``.

    Raises:
        OSError: the folder or a file cannot be read.
        BadTemplatesError: a file is not UTF-8 text.
    """
    found = {}
    for path in template_files(folder):
        try:
            found[path.stem] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise BadTemplatesError(f"{path.name}: it is not UTF-8 text") from None
    return found


def _unknown(names: Mapping[str, str]) -> list[str]:
    return [name for name in names if name not in CATEGORY_OF and name != DEFAULT]


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _built(filled: str, kinds: list[dict[str, Any]]) -> Text:
    """The text without marks, and an entity for each pair of marks."""
    pieces: list[str] = []
    entities: list[dict[str, Any]] = []
    began: list[tuple[int, int, int]] = []
    at = 0
    for piece in _BOUNDS.split(filled.strip()):
        text = ""
        if not _BOUNDS.match(piece):
            text = piece.replace("\0", "")
        elif (number := ord(piece) - _BEGIN) < len(kinds):
            began.append((number, at, len(pieces)))
        elif began:
            # A template that cuts marked text may lose a mark; the text still counts.
            number, start, first = began.pop()
            if _is_sound(kinds[number]):
                entities.append({**kinds[number], "offset": start, "length": at - start})
            else:
                text = url_after("".join(pieces[first:]), kinds[number].get("url", "").replace("\0", ""))
        pieces.append(text)
        at += utf16_length(text)
    shown = [entity for entity in entities if entity["length"]]
    return Text("".join(pieces), tuple(sorted(shown, key=lambda entity: entity["offset"])))


def _is_sound(entity: Mapping[str, Any]) -> bool:
    """Whether Telegram takes the entity; it refuses some URLs, and with them the whole message."""
    return entity["type"] != "text_link" or is_link(entity.get("url", ""))
