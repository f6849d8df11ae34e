"""The media type of a file follows from its first bytes, and an image's size from its header."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.files.content import Content, content_of
from tests import images

VP8X = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
VP8L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 639 | 479 << 14)
VP8 = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 640, 480)


@pytest.mark.parametrize(
    ("start", "content"),
    [
        (images.png(640, 480), Content("image/png", 640, 480)),
        (images.jpeg(640, 480), Content("image/jpeg", 640, 480)),
        (images.jpeg(640, 480, before=60_000), Content("image/jpeg", 640, 480)),
        (images.jpeg(640, 480)[:6], Content("image/jpeg")),
        (b"GIF89a" + struct.pack("<HH", 640, 480), Content("image/gif", 640, 480)),
        (VP8X, Content("image/webp", 640, 480)),
        (VP8L, Content("image/webp", 640, 480)),
        (VP8, Content("image/webp", 640, 480)),
        (b"RIFF\0\0\0\0WEBP", Content("image/webp")),
        (b"RIFF\0\0\0\0WAVEfmt ", Content("audio/wav")),
        (images.mp4(), Content("video/mp4")),
        (b"\0\0\0\x18ftypM4A ", Content("audio/mp4")),
        (b"\x1a\x45\xdf\xa3", Content("video/webm")),
        (b"OggS\0", Content("audio/ogg")),
        (b"ID3\4", Content("audio/mpeg")),
        (images.pdf(), Content("application/pdf")),
        (b"PK\x03\x04\x14\0", Content("application/zip")),
        (b"MZ\x90\0\x03", Content("application/octet-stream")),
        (b"<html><script>alert(1)</script>", Content("text/plain")),
        ("häßlich".encode(), Content("text/plain")),
        ("häßlich".encode()[:-2], Content("text/plain")),
        ("h\xe4\xdflich und mehr".encode("latin-1"), Content("application/octet-stream")),
        (b"", Content("application/octet-stream")),
    ],
    ids=lambda value: value.media_type if isinstance(value, Content) else repr(value[:12]),
)
def test_the_first_bytes_decide(start: bytes, content: Content) -> None:
    assert content_of(start) == content


@given(st.binary(max_size=64), st.sampled_from([images.png(9, 9), images.jpeg(9, 9), VP8X, VP8L, VP8, b""]))
def test_any_bytes_are_something(noise: bytes, start: bytes) -> None:
    for cut in range(len(start) + 1):
        assert content_of(start[:cut] + noise).media_type
