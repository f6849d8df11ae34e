"""The next step of a message at Telegram: which method is called, and with what. Pure."""

from dataclasses import replace

from services.outbox.messages import Album, Claimed, Document, Media, MediaKind, Rendered, Text
from services.outbox.messages.step import Render, Step
from services.outbox.telegram import deletion, pin
from services.outbox.telegram.text import mark_repeated

MEDIA_METHODS = {
    MediaKind.PHOTO: "sendPhoto",
    MediaKind.DOCUMENT: "sendDocument",
    MediaKind.AUDIO: "sendAudio",
    MediaKind.VIDEO: "sendVideo",
    MediaKind.ANIMATION: "sendAnimation",
    MediaKind.VOICE: "sendVoice",
}


def next_step(message: Claimed, render: Render) -> Step:
    """Returns the next step: a part that is sent, an edit, a pin or a deletion.

    Args:
        message: that is claimed.
        render: makes its text and entities.
    """
    rendered = deletion.rendered(message) if message.is_deletion else render(message)
    if not message.is_deletion and not pin.is_next(message, rendered):
        message = _replace_oversized_edit(message, rendered)
        rendered = _marked(message, _repeat_for_copy(message, rendered))
    return Step(message, rendered, _steps(message, rendered), _method(message, rendered))


def _replace_oversized_edit(message: Claimed, rendered: Rendered) -> Claimed:
    """Turns an edit that does not fit into one message into new messages."""
    if len(rendered.parts) > 1 or not isinstance(rendered.parts[0], Text):
        return replace(message, edits=None)
    return message


def _repeat_for_copy(message: Claimed, rendered: Rendered) -> Rendered:
    """Adds the text of an edit as a new message, where a copy of its target cannot be edited.

    The edit may be made already, and its chat have migrated since: then only the new message is left.
    """
    has_copy = message.edits is not None and message.unseen_copy
    if has_copy or message.part == len(rendered.parts):
        return replace(rendered, parts=rendered.parts * 2)
    return rendered


def _marked(message: Claimed, rendered: Rendered) -> Rendered:
    """Marks the part that is sent now, if it may be in the chat already.

    The other parts stay as they were when they were sent. An edit that is made twice shows no difference.
    """
    if message.is_edit or not message.may_have_arrived:
        return rendered
    parts = list(rendered.parts)
    parts[message.part] = mark_repeated(parts[message.part])
    return replace(rendered, parts=tuple(parts))


def _steps(message: Claimed, rendered: Rendered) -> int:
    """The calls that deliver a message."""
    return len(rendered.deletes) if message.is_deletion else pin.steps(message, rendered)


def _method(message: Claimed, rendered: Rendered) -> str:
    """The Bot API method for the next part of a message."""
    if message.is_deletion:
        return deletion.METHOD
    if pin.is_next(message, rendered):
        return pin.METHOD
    part = rendered.parts[message.part]
    if isinstance(part, Document):
        return "sendDocument"
    if isinstance(part, Media):
        return MEDIA_METHODS[part.kind]
    if isinstance(part, Album):
        return "sendMediaGroup"
    return "sendMessage" if message.edits is None else "editMessageText"
