"""What a file is, from its first bytes: its media type, and the size of an image. Pure.

A client's own type is not used: the same bytes are stored once for all clients, and a media
type decides how browsers and Telegram show a file.
"""

import struct
from dataclasses import dataclass

UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Content:
    """Media type of a file; of an image whose header could be read also its pixels."""

    media_type: str
    width: int | None = None
    height: int | None = None


#: Offset and bytes at the beginning of a file, and what they mean. The first match counts.
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (8, b"WAVE", "audio/wav"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
)


def content_of(start: bytes) -> Content:
    """What the file is that begins with these bytes; up to a MiB of them is looked at.

    Text without NUL that is UTF-8 counts as plain text, which HTML and SVG are as well: nothing that was
    uploaded is ever shown as a page.
    """
    image = _png(start) or _jpeg(start) or _gif(start) or _webp(start)
    if image is not None:
        return image
    for offset, mark, media_type in _MARKS:
        if start.startswith(mark, offset):
            return Content(media_type)
    return Content("text/plain" if _is_text(start) else UNKNOWN)


def _is_text(start: bytes) -> bool:
    if not start or b"\0" in start:
        return False
    try:
        # Without the last bytes, which may be a part of a character.
        start[: max(1, len(start) - 3)].decode()
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 6
    return True


def _png(start: bytes) -> Content | None:
    if not start.startswith(b"\x89PNG\r\n\x1a\n") or len(start) < 24:  # noqa: PLR2004 - the header's length
        return None
    return Content("image/png", *struct.unpack(">II", start[16:24]))


def _gif(start: bytes) -> Content | None:
    if not start.startswith((b"GIF87a", b"GIF89a")) or len(start) < 10:  # noqa: PLR2004 - the same
        return None
    return Content("image/gif", *struct.unpack("<HH", start[6:10]))


def _webp(start: bytes) -> Content | None:
    if not (start.startswith(b"RIFF") and start[8:12] == b"WEBP"):
        return None
    kind, data = start[12:16], start[20:30]
    if kind == b"VP8X" and len(data) == 10:  # noqa: PLR2004 - the header's length
        width, height = int.from_bytes(data[4:7], "little"), int.from_bytes(data[7:10], "little")
        return Content("image/webp", width + 1, height + 1)
    if kind == b"VP8L" and len(data) >= 5:  # noqa: PLR2004 - the same
        bits = int.from_bytes(data[1:5], "little")
        return Content("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and len(data) == 10:  # noqa: PLR2004 - the same
        width, height = struct.unpack("<HH", data[6:10])
        return Content("image/webp", width & 0x3FFF, height & 0x3FFF)
    return Content("image/webp")


#: JPEG segments that have the size of the image: start of frame, but for tables that share the numbers.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(start: bytes) -> Content | None:
    if not start.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while at + 9 <= len(start) and start[at] == 0xFF:  # noqa: PLR2004 - the mark of a segment
        kind = start[at + 1]
        if kind in _FRAMES:
            height, width = struct.unpack(">HH", start[at + 5 : at + 9])
            return Content("image/jpeg", width, height)
        # Fill bytes stand alone.
        at += 1 if kind == 0xFF else 2 + int.from_bytes(start[at + 2 : at + 4], "big")  # noqa: PLR2004 - the same mark
    return Content("image/jpeg")
