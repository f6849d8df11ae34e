"""Files as the fields of messages: sizes of images, Telegram's limits for photos. Pure."""

from typing import Any

from services.outbox.files import content
from services.telegram_sandbox.state.files import StoredFile

#: Kinds of files in a message, by the name of its field.
KINDS = ("photo", "document", "audio", "video", "animation", "voice", "sticker", "video_note")
LARGEST_PHOTO = 10 << 20  # bytes
PHOTO_PIXELS = 10_000  # width and height together
PHOTO_RATIO = 20
#: Telegram stores every photo as a JPEG.
PHOTO_NAME, PHOTO_TYPE = "photo.jpg", "image/jpeg"
VOICE_NAME, VOICE_TYPE = "voice.ogg", "audio/ogg"
#: Length of a recording in the sandbox, which decodes none, seconds.
SECONDS = 1


def pixels(data: bytes) -> tuple[int, int] | None:
    """Width and height of an image; None if the bytes are none."""
    found = content.content_of(data[: 1 << 20])
    return None if found.width is None or found.height is None else (found.width, found.height)


def may_be_photo(width: int, height: int) -> bool:
    """Whether Telegram takes an image of this size as a photo."""
    if not width or not height or width + height > PHOTO_PIXELS:
        return False
    return max(width, height) <= PHOTO_RATIO * min(width, height)


def stored_as(kind: str, name: str, mime: str) -> tuple[str, str]:
    """Name and type that Telegram keeps of an upload of this kind."""
    if kind == "photo":
        return PHOTO_NAME, PHOTO_TYPE
    if kind == "voice":
        return VOICE_NAME, VOICE_TYPE
    return name, mime or "application/octet-stream"


def fields(kind: str, stored: StoredFile, size: tuple[int, int] | None) -> dict[str, Any]:
    """The fields of a message with this file."""
    ids = {"file_id": stored.id, "file_unique_id": stored.unique_id, "file_size": stored.size}
    width, height = size or (0, 0)
    if kind == "photo":
        return {"photo": [ids | {"width": width, "height": height}]}
    shown = ids | {"mime_type": stored.mime}
    if kind != "voice":
        shown["file_name"] = stored.name
    if kind in {"audio", "video", "animation", "voice"}:
        shown["duration"] = SECONDS
    if kind in {"video", "animation"}:
        shown |= {"width": width, "height": height}
    if kind == "animation":
        # As Telegram does for programs that know no animations.
        return {"animation": shown, "document": shown}
    return {kind: shown}


def file_of(wire: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The kind of a message's file and its description, of a photo its largest size; None without a file."""
    # An animation is also a document.
    for kind in ("animation", *KINDS):
        found = wire.get(kind)
        if found:
            return kind, found[-1] if kind == "photo" else found
    return None


def stored_file(kind: str, shown: dict[str, Any]) -> StoredFile:
    """The stored file of a message's file."""
    names = {"photo": PHOTO_NAME, "voice": VOICE_NAME}
    mime = shown.get("mime_type") or PHOTO_TYPE
    bot_id = int(shown["file_id"].split("-")[1])
    name = shown.get("file_name") or names.get(kind, kind)
    return StoredFile(shown["file_id"], bot_id, name, mime, shown["file_size"])
