"""Telegram's limits for files."""

import pytest

from services.outbox.files import limits
from services.outbox.messages import MediaKind

MB = 1 << 20


@pytest.mark.parametrize(
    ("kind", "media_type", "size", "pixels", "words"),
    [
        (MediaKind.DOCUMENT, "application/pdf", 50 * MB, (None, None), None),
        (MediaKind.DOCUMENT, "application/pdf", 50 * MB + 1, (None, None), "50 MB"),
        (MediaKind.DOCUMENT, "application/pdf", 0, (None, None), "empty"),
        (MediaKind.AUTO, "application/pdf", 50 * MB + 1, (None, None), "50 MB"),
        (MediaKind.PHOTO, "image/png", 10 * MB, (5_000, 5_000), None),
        (MediaKind.PHOTO, "image/png", 10 * MB + 1, (5_000, 5_000), "10 MB"),
        (MediaKind.PHOTO, "image/png", MB, (5_000, 5_001), "10000 pixels together, not 5000 x 5001"),
        (MediaKind.PHOTO, "image/png", MB, (2_000, 100), None),
        (MediaKind.PHOTO, "image/png", MB, (100, 2_001), "20 times"),
        (MediaKind.PHOTO, "image/png", MB, (0, 5), "0 x 5"),
        (
            MediaKind.PHOTO,
            "application/pdf",
            MB,
            (None, None),
            "no JPEG, PNG or WebP image (application/pdf)",
        ),
        # Its header could not be read: Telegram decides.
        (MediaKind.PHOTO, "image/webp", MB, (None, None), None),
    ],
)
def test_what_telegram_would_refuse_is_refused_in_words(
    kind: MediaKind, media_type: str, size: int, pixels: tuple[int | None, int | None], words: str | None
) -> None:
    why = limits.refusal(kind, media_type, size, pixels)
    assert why is None if words is None else words in str(why)


@pytest.mark.parametrize(
    ("media_type", "size", "pixels", "kind"),
    [
        ("image/png", MB, (100, 100), MediaKind.PHOTO),
        ("image/png", 11 * MB, (100, 100), MediaKind.DOCUMENT),
        ("image/png", MB, (100, 10_000), MediaKind.DOCUMENT),
        ("image/gif", MB, (100, 100), MediaKind.ANIMATION),
        ("video/mp4", MB, (None, None), MediaKind.VIDEO),
        ("audio/mpeg", MB, (None, None), MediaKind.AUDIO),
        ("audio/ogg", MB, (None, None), MediaKind.DOCUMENT),
        ("application/zip", MB, (None, None), MediaKind.DOCUMENT),
    ],
)
def test_auto_is_what_telegram_shows_best(
    media_type: str, size: int, pixels: tuple[int | None, int | None], kind: MediaKind
) -> None:
    assert limits.kind_of(MediaKind.AUTO, media_type, size, pixels) is kind
    assert limits.kind_of(MediaKind.DOCUMENT, media_type, size, pixels) is MediaKind.DOCUMENT
