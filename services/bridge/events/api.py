"""Templates over REST: which are in use, and the text of an event without sending it."""

import time

import uuid_utils
from fastapi import APIRouter

from services.bridge.bots import DEFAULT
from services.bridge.events.render import render, template_values
from services.bridge.events.templates import TemplateFailedError, Templates
from services.bridge.state import State
from services.contracts.events import CATEGORY_OF, NewEvent
from services.contracts.templates import Preview, PreviewPart, TemplatesView
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import AT_ONCE, Claimed, Document, Lane, Text, UnknownPolicy

router = APIRouter(prefix="/api/v1/templates", tags=["events"])


@router.get("", summary="List the templates in use")
async def listed(state: State) -> TemplatesView:
    """A changed file is in use within a second, unless it is invalid."""
    folder = state.template_folder
    if folder is None:
        return TemplatesView(folder=None, names=[], error=None)
    return TemplatesView(folder=str(folder.folder), names=folder.templates.names, error=folder.error)


@router.post("/preview", summary="Show the text of an event without sending it")
async def preview(state: State, event: NewEvent) -> Preview:
    """Uses the templates in force, and else the built-in text."""
    message = _unsent(event)
    templates, error = state.templates, _failure(state.templates, event)
    used = None if templates is None or error else templates.name_for(event.kind)
    rendered = render(message, templates if used else None)
    # It has no files: those are sent as they are.
    parts = [_part(part) for part in rendered.parts if isinstance(part, Text | Document)]
    return Preview(template=used, error=error, parts=parts)


def _failure(templates: Templates | None, event: NewEvent) -> str | None:
    """Why the template of an event fails; it is not counted as a failure of a message."""
    if templates is None or event.kind not in templates:
        return None
    try:
        templates.fill(event.kind, template_values(event))
    except TemplateFailedError as error:
        return str(error)
    return None


def _part(part: Text | Document) -> PreviewPart:
    text = part.caption if isinstance(part, Document) else part
    file = part.filename if isinstance(part, Document) else None
    return PreviewPart(text=text.text, entities=[dict(entity) for entity in text.entities], file=file)


def _unsent(event: NewEvent) -> Claimed:
    """The event as a worker would get it."""
    identifier, now = str(uuid_utils.uuid7()), time.time()
    return Claimed(
        seq=0,
        id=identifier,
        event_id=identifier,
        event_type=event.kind,
        category=CATEGORY_OF[event.kind],
        source=event.source,
        title=event.title,
        body=event.model_dump_json(exclude_defaults=True),
        correlation_id=event.correlation_id or identifier,
        trace=TraceContext(1, 1, sampled=False),
        bot=event.bot or DEFAULT,
        chat_id=0,
        thread_id=event.thread_id,
        lane=Lane.NORMAL,
        silent=event.silent,
        on_unknown=UnknownPolicy(event.on_unknown),
        accepted_at=now,
        due_at=AT_ONCE,
        expires_at=None,
        claimed_at=now,
        limiter_wait=0.0,
        attempt=1,
        retries=0,
        part=0,
        possible_duplicate=False,
        plain=False,
    )
