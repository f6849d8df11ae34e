"""Small real files for tests."""

import struct
import zlib


def png(width: int = 2, height: int = 2, *, padding: int = 0) -> bytes:
    """A gray PNG of this size in pixels; ``padding`` bytes are added in a chunk that programs ignore."""
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    extra = _chunk(b"teSt", bytes(padding)) if padding else b""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg(width: int, height: int, *, before: int = 0) -> bytes:
    """The head of a JPEG; ``before`` bytes of metadata stand before its size."""
    app = b"\xff\xe1" + struct.pack(">H", before + 2) + bytes(before) if before else b""
    return b"\xff\xd8" + app + b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"


def mp4() -> bytes:
    """What begins as a video of that type."""
    return b"\0\0\0\x18ftypisom" + bytes(64)


def pdf(words: str = "report") -> bytes:
    return f"%PDF-1.4\n% {words}\n%%EOF\n".encode()
