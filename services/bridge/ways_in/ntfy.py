"""ntfy's publish form: the event of a publication, and ntfy's answer to it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import emoji
import orjson

from services.bridge.ways_in import ntfy_delay, ntfy_links
from services.bridge.ways_in.draft import Draft, Given, Place, decoded, fault, words
from services.bridge.ways_in.ntfy_fields import EMPTY, Fields, flag
from services.bridge.ways_in.send import DEFAULT_TYPE
from services.kit.errors import Problem

_PRIORITIES: Mapping[str, int] = MappingProxyType(
    {"min": 1, "low": 2, "default": 3, "high": 4, "max": 5, "urgent": 5} | {str(n): n for n in range(1, 6)}
)
#: ntfy shows its two lowest priorities without a sound.
_AS_PRIORITY: Mapping[int, Mapping[str, Any]] = MappingProxyType(
    {
        1: {"priority": "low", "silent": True},
        2: {"priority": "low", "silent": True},
        3: {},
        4: {"priority": "high", "severity": "high"},
        5: {"priority": "urgent", "severity": "critical"},
    }
)
#: Fields that ask for what no message to Telegram can be. ntfy's own server refuses the first two as well,
#: unless it is set up for them.
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "email": "no e-mails are sent from here: messages go to Telegram",
        "call": "no calls are made from here: messages go to Telegram",
        "template": "templates are not filled here: use POST /hooks/{source} with a mapping",
        "unifiedpush": "UnifiedPush is not offered here: messages go to Telegram",
        "filename": "files are not taken here: send a text, or the URL of a file as Attach",
    }
)


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication as it was read.

    Args:
        topic: where it goes; the source of the event.
        draft: the event.
        shown: the members of ntfy's answer that it has.
        identity: what a repetition has in common with it.
    """

    topic: str
    draft: Draft
    shown: Mapping[str, Any]
    identity: object


def read(topic: str, fields: Fields, body: bytes, now: float) -> Publication:
    """The event of a publication.

    Args:
        topic: where it goes.
        fields: of headers, query or JSON.
        body: the text, unless a field has it.
        now: seconds since the epoch, for delays.

    Raises:
        Problem: 422, a field is wrong, or asks for what is not offered.
    """
    _refuse(fields)
    text = _message(fields, body)
    tags = _tags(fields.get("tags"))
    title = fields.get("title")
    faces = " ".join(filter(None, map(_face, tags)))
    links = ntfy_links.shown(fields)
    formatted = flag(fields.get("markdown"))
    # The first line of Markdown is no title: a title has no format.
    named = Given(topic, ("path", "topic")) if formatted and title is None else title
    draft = words(*_with_faces(named, text, faces, "\n".join(links.lines)))
    level = _priority(fields.get("priority"))
    others = [tag for tag in tags if not _face(tag)]
    data = {**draft.event.get("data", {}), **links.data, **({"tags": others} if others else {})}
    event = {"type": DEFAULT_TYPE, "source": topic, **_AS_PRIORITY[level], **links.fields, **draft.event}
    event |= ({"data": data} if data else {}) | ({"format": "markdown"} if formatted else {})
    if "delay" in fields:
        event["deliver_at"] = ntfy_delay.deliver_at(fields["delay"], now)
    shown = {
        "title": title.value if title else "",
        "message": text.value,
        "priority": level if "priority" in fields else 0,
        "tags": tags,
        "click": fields["click"].value if "click" in fields else "",
    }
    said = {name: given.value for name, given in fields.items()}
    return Publication(
        topic,
        Draft(event, {**_places(fields), **draft.places}),
        {name: value for name, value in shown.items() if value},
        [topic, said, text.value],
    )


def answer(published: Publication, stored: bytes) -> bytes:
    """The answer in ntfy's form, from the answer of ``POST /events``.

    Args:
        published: the publication.
        stored: the answer as JSON.
    """
    event_id: str = orjson.loads(stored)["event_id"]
    # The first 48 bits of the id are the milliseconds since the epoch.
    at = int(event_id.replace("-", "")[:12], 16) // 1_000
    head = {"id": event_id, "time": at, "event": "message", "topic": published.topic}
    return orjson.dumps(head | dict(published.shown))


def as_ntfy_says(problem: Problem) -> Problem:
    """The problem with ntfy's members too, which its clients show to people."""
    errors = problem.errors or ()
    text = "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in errors if error["loc"])
    problem.extensions = {
        **problem.extensions,
        "http": problem.status,
        "error": text or problem.detail or problem.title,
    }
    return problem


def _refuse(fields: Fields) -> None:
    for name, why in _REFUSED.items():
        given = fields.get(name)
        off = name in ("template", "unifiedpush") and given is not None and not flag(given)
        if given is not None and not off and not (name == "filename" and "attach" in fields):
            raise fault(given.place, why)


def _message(fields: Fields, body: bytes) -> Given:
    given = fields.get("message")
    if given is not None:
        if body.strip():
            text = "the message is there twice: in the body too"
            raise fault(given.place, text)
        return replace(given, value=str(given.value).replace("\\n", "\n"))
    text = decoded(body)
    return Given(text if text.strip() else EMPTY, ("body",))


def _with_faces(
    title: Given | None, text: Given, faces: str, below: str
) -> tuple[Given | None, Given | None]:
    """Title and text, with emojis before the first of them, and further lines below the text."""
    said = str(text.value)
    if title is not None and said == EMPTY:
        said = ""
    if faces and title is not None:
        title = replace(title, value=f"{faces} {title.value}")
    elif faces:
        said = f"{faces} {said.lstrip()}"
    parts = [part for part in (said.rstrip("\r\n"), below) if part]
    return title, replace(text, value="\n\n".join(parts))


def _tags(given: Given | None) -> list[str]:
    if given is None:
        return []
    found = given.value if isinstance(given.value, list) else str(given.value).split(",")
    return [tag.strip() for tag in found if tag.strip()]


def _face(tag: str) -> str:
    """The emoji that a tag names; empty if it names none."""
    name = f":{tag}:"
    face = emoji.emojize(name, language="alias")
    return "" if face == name else face


def _priority(given: Given | None) -> int:
    if given is None:
        return 3
    level = _PRIORITIES.get(str(given.value).strip().lower())
    if level is None:
        raise fault(given.place, "a priority is 1 to 5, or min, low, default, high, max or urgent")
    return level


def _places(fields: Fields) -> dict[str, Place]:
    named = {"deliver_at": "delay", "data.url": "click", "data.tags": "tags"}
    found: dict[str, Place] = {
        ours: fields[theirs].place for ours, theirs in named.items() if theirs in fields
    }
    return found | {"source": ("path", "topic")}
