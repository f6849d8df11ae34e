"""Files as the fields of messages: sizes of images, Telegram's limits for photos. Pure."""

from typing import Any

from services.outbox.files import content
from services.telegram_sandbox.state.files import StoredFile

#: Kinds of files in a message, by the name of its field.
KINDS = ("photo", "document", "audio", "video", "animation", "voice", "sticker", "video_note")
LARGEST_PHOTO = 10 << 20  # bytes
PHOTO_PIXELS = 10_000  # width and height together
PHOTO_RATIO = 20
#: Name and type of the kinds that Telegram gives its own; every photo is stored as a JPEG.
_NAMED = {
    "photo": ("photo.jpg", "image/jpeg"),
    "voice": ("voice.ogg", "audio/ogg"),
    "sticker": ("sticker.webp", "image/webp"),
    "video_note": ("video_note.mp4", "video/mp4"),
}
#: Length of a recording in the sandbox, which decodes none, seconds.
SECONDS = 1

_STILL = {"is_animated": False, "is_video": False}


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
    return _NAMED.get(kind, (name, mime or "application/octet-stream"))


def fields(kind: str, stored: StoredFile, size: tuple[int, int] | None) -> dict[str, Any]:
    """The fields of a message with this file."""
    ids = {"file_id": stored.id, "file_unique_id": stored.unique_id, "file_size": stored.size}
    width, height = size or (0, 0)
    if kind == "photo":
        return {"photo": [ids | {"width": width, "height": height}]}
    shown = ids | {"mime_type": stored.mime}
    if kind == "sticker":
        return {"sticker": ids | {"type": "regular", "width": width, "height": height, **_STILL}}
    if kind == "video_note":
        return {"video_note": ids | {"length": width, "duration": SECONDS}}
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
    own_name, own_type = _NAMED.get(kind, (kind, "image/jpeg"))
    mime = shown.get("mime_type") or own_type
    bot_id = int(shown["file_id"].split("-")[1])
    name = shown.get("file_name") or own_name
    return StoredFile(shown["file_id"], bot_id, name, mime, shown["file_size"])
