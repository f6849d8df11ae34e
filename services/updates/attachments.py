"""Files that people send: the file of a Bot API message as a value, with bounded numbers and texts. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.outbox.telegram import values

#: Longest file id that is read; Telegram's have fewer than 100 characters.
LONGEST_FILE_ID = 512
LONGEST_NAME = 200
#: Most bytes, pixels a side, and seconds that are believed: Telegram's files have 4 GB at most.
LARGEST_SIZE = 2**40
LARGEST_SIDE = 2**31 - 1
LONGEST_SECONDS = 2**31 - 1
#: Most sizes of a photo that are looked at; Telegram makes four.
MOST_SIZES = 20
ANY_TYPE = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")


class AttachmentKind(StrEnum):
    """What a file was sent as: the name of its field in a message."""

    PHOTO = "photo"
    # An animation is in the field `document` too, so it stands before it.
    ANIMATION = "animation"
    DOCUMENT = "document"
    AUDIO = "audio"
    VIDEO = "video"
    VOICE = "voice"
    VIDEO_NOTE = "video_note"
    STICKER = "sticker"


#: Types of files for which Telegram names none.
_TYPES = {
    AttachmentKind.PHOTO: "image/jpeg",
    AttachmentKind.VIDEO_NOTE: "video/mp4",
    AttachmentKind.VOICE: "audio/ogg",
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a person sent.

    Args:
        kind: what it was sent as.
        file_id: Telegram's, for the bot that received it.
        media_type: as Telegram says, or :data:`ANY_TYPE`.
        size: bytes; None: Telegram does not say.
        filename: as the person's program gave it; None: it has none.
        width: pixels; None where it has none, like the height.
        height: pixels.
        duration: seconds; None where it has none.
    """

    kind: AttachmentKind
    file_id: str
    media_type: str
    size: int | None = None
    filename: str | None = None
    width: int | None = None
    height: int | None = None
    duration: int | None = None


def of_message(message: Mapping[str, Any]) -> Attachment | None:
    """The file of a message, of a photo its largest size; None where it has none.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: a field is of the wrong type or out of bounds.
    """
    kind = next((kind for kind in AttachmentKind if kind in message), None)
    if kind is None:
        return None
    shown = message[kind]
    if kind is AttachmentKind.PHOTO:
        shown = max(shown[:MOST_SIZES], key=_pixels)
    # The sides of a video note are equal, and called its length.
    side = shown.get("length") if kind is AttachmentKind.VIDEO_NOTE else None
    return Attachment(
        kind,
        _file_id(shown["file_id"]),
        _media_type(kind, shown),
        _number(shown.get("file_size"), LARGEST_SIZE),
        values.optional_text(shown.get("file_name"), LONGEST_NAME) or None,
        _number(shown.get("width", side), LARGEST_SIDE),
        _number(shown.get("height", side), LARGEST_SIDE),
        _number(shown.get("duration"), LONGEST_SECONDS),
    )


def _pixels(size: Mapping[str, Any]) -> int:
    width, height = (values.integer(size[side], 0, LARGEST_SIDE) for side in ("width", "height"))
    return width * height


def _file_id(value: Any) -> str:
    # A cut id would be another one.
    if not value or values.text(value, LONGEST_FILE_ID) != value:
        raise ValueError("not the id of a file")
    return str(value)


def _media_type(kind: AttachmentKind, shown: Mapping[str, Any]) -> str:
    if kind is AttachmentKind.STICKER:
        animated = "application/x-tgsticker" if shown.get("is_animated") else "image/webp"
        return "video/webm" if shown.get("is_video") else animated
    named = (values.optional_text(shown.get("mime_type"), LONGEST_NAME) or "").lower()
    return named if _MEDIA_TYPE.fullmatch(named) else _TYPES.get(kind, ANY_TYPE)


def _number(value: Any, highest: int) -> int | None:
    return None if value is None else values.integer(value, 0, highest)
