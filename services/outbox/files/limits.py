"""Which files Telegram takes as what. Pure.

Sources: core.telegram.org/bots/api, "Sending files", sendPhoto; TDLib's FileLoaderUtils.cpp.
"""

from services.outbox.messages import MediaKind

MIB = 1 << 20
#: Bytes of the largest photo, and of the largest other file.
LARGEST_PHOTO = 10 * MIB
LARGEST_FILE = 50 * MIB
#: Pixels of width and height together, and the longer side by the shorter one.
PHOTO_PIXELS = 10_000
PHOTO_RATIO = 20
#: Images that Telegram shows as a photo.
PHOTOS = frozenset({"image/jpeg", "image/png", "image/webp"})
#: Files in one message, and the kinds that may be in one together.
LARGEST_ALBUM = 10
_ALBUMS = {
    MediaKind.PHOTO: "photos and videos",
    MediaKind.VIDEO: "photos and videos",
    MediaKind.DOCUMENT: "documents",
    MediaKind.AUDIO: "audio",
}
_BY_TYPE = {
    "image/gif": MediaKind.ANIMATION,
    "audio/mpeg": MediaKind.AUDIO,
    "audio/mp4": MediaKind.AUDIO,
    "video/mp4": MediaKind.VIDEO,
}


def album_of(kind: MediaKind) -> str | None:
    """The kind of album that a file of this kind may be in; None: it is a message of its own."""
    return _ALBUMS.get(kind)


def refusal(kind: MediaKind, media_type: str, size: int, pixels: tuple[int | None, int | None]) -> str | None:
    """Why Telegram would not take a file as this kind; None where nothing is known against it.

    Args:
        kind: how it is to be sent.
        media_type: from its content.
        size: bytes.
        pixels: width and height of an image, where they are known.
    """
    if size == 0:
        return "the file is empty"
    if size > LARGEST_FILE:
        return f"Telegram takes files of up to 50 MB ({LARGEST_FILE} bytes); this one has {size} bytes"
    return _photo_refusal(media_type, size, pixels) if kind is MediaKind.PHOTO else None


def _photo_refusal(media_type: str, size: int, pixels: tuple[int | None, int | None]) -> str | None:
    instead = 'kind "document" sends it as a file'
    if media_type not in PHOTOS:
        return f"this is no JPEG, PNG or WebP image ({media_type}); {instead}"
    if size > LARGEST_PHOTO:
        return f"a photo may have 10 MB ({LARGEST_PHOTO} bytes), this one has {size} bytes; {instead}"
    width, height = pixels
    if width is None or height is None:
        return None
    if not width or not height or width + height > PHOTO_PIXELS:
        most = f"width and height of a photo may be {PHOTO_PIXELS} pixels together"
        return f"{most}, not {width} x {height}; {instead}"
    if max(width, height) > PHOTO_RATIO * min(width, height):
        most = f"a photo's longer side may be {PHOTO_RATIO} times its shorter one"
        return f"{most}, not {width} x {height}; {instead}"
    return None


def kind_of(
    wanted: MediaKind, media_type: str, size: int, pixels: tuple[int | None, int | None]
) -> MediaKind:
    """How a file is sent: as it is wanted, or, for ``auto``, as Telegram shows it best."""
    if wanted is not MediaKind.AUTO:
        return wanted
    if refusal(MediaKind.PHOTO, media_type, size, pixels) is None:
        return MediaKind.PHOTO
    return _BY_TYPE.get(media_type, MediaKind.DOCUMENT)
