"""Files as parts of a message: captions, albums, and what replaces a refused photo."""

import pytest

from services.outbox.messages import Album, EventFile, Media, MediaKind, Rendered, Text
from services.outbox.telegram import media
from services.outbox.telegram.text import CAPTION_LIMIT, mark_repeated, room_for_repeated

PHOTO, DOCUMENT, AUDIO = MediaKind.PHOTO, MediaKind.DOCUMENT, MediaKind.AUDIO
VIDEO, ANIMATION, VOICE = MediaKind.VIDEO, MediaKind.ANIMATION, MediaKind.VOICE
BOLD = Text("Build 7", ({"type": "bold", "offset": 0, "length": 5},))
KEYS = {"inline_keyboard": [[{"text": "Open", "url": "https://ci.example"}]]}


def one(kind: MediaKind, number: int = 1, caption: str = "") -> EventFile:
    return EventFile(kind, f"{number}.bin", f"file-{number}", size=9, media_type="a/b", caption=caption)


def shapes(rendered: Rendered) -> list[str]:
    """Each part as a word; an album as the kinds in it."""
    return [
        "+".join(each.kind.value for each in part.items)
        if isinstance(part, Album)
        else part.kind.value
        if isinstance(part, Media)
        else type(part).__name__.lower()
        for part in rendered.parts
    ]


@pytest.mark.parametrize(
    ("kinds", "parts"),
    [
        ([PHOTO], ["photo"]),
        ([PHOTO, VIDEO, PHOTO], ["photo+video+photo"]),
        ([DOCUMENT, DOCUMENT], ["document+document"]),
        ([AUDIO, AUDIO, PHOTO], ["audio+audio", "photo"]),
        ([PHOTO, DOCUMENT, PHOTO], ["photo", "document", "photo"]),
        ([ANIMATION, ANIMATION, VOICE], ["animation", "animation", "voice"]),
        ([PHOTO] * 12, ["+".join(["photo"] * 10), "photo+photo"]),
    ],
)
def test_neighbours_that_telegram_shows_together_are_an_album(
    kinds: list[MediaKind], parts: list[str]
) -> None:
    files = [one(kind, number) for number, kind in enumerate(kinds)]
    rendered = media.with_files(Rendered((BOLD,)), files)
    assert shapes(rendered) == parts
    first = rendered.parts[0]
    assert isinstance(first, Album | Media)
    shown = first.items if isinstance(first, Album) else (first,)
    assert shown[0].caption == BOLD
    assert [each.caption.text for each in shown[1:]] == [""] * (len(shown) - 1)


def test_a_text_that_does_not_fit_is_sent_before_the_files() -> None:
    fits = Text("x" * (CAPTION_LIMIT - room_for_repeated()))
    assert shapes(media.with_files(Rendered((fits,)), [one(PHOTO)])) == ["photo"]
    longer = Text(fits.text + "x")
    assert shapes(media.with_files(Rendered((longer,)), [one(PHOTO)])) == ["text", "photo"]
    assert shapes(media.with_files(Rendered((BOLD, BOLD)), [one(PHOTO)])) == ["text", "text", "photo"]


def test_a_caption_of_its_own_leaves_the_text_a_message() -> None:
    rendered = media.with_files(Rendered((BOLD,)), [one(PHOTO, caption="A plot"), one(PHOTO, 2)])
    assert shapes(rendered) == ["text", "photo+photo"]
    album = rendered.parts[1]
    assert isinstance(album, Album)
    assert [each.caption.text for each in album.items] == ["A plot", ""]


def test_buttons_stand_at_the_last_part_and_at_no_album() -> None:
    def shaped(*kinds: MediaKind) -> list[str]:
        files = [one(kind, number) for number, kind in enumerate(kinds)]
        return shapes(media.with_files(Rendered((BOLD,), KEYS), files))

    assert shaped(PHOTO) == ["photo"]
    assert shaped(PHOTO, PHOTO) == ["photo+photo", "text"]
    assert shaped(PHOTO, DOCUMENT) == ["photo", "document", "text"]


def test_a_question_stays_a_text_that_can_be_edited() -> None:
    rendered = media.with_files(Rendered((BOLD,), KEYS), [one(PHOTO)], captions=False)
    assert shapes(rendered) == ["photo", "text"]


def test_a_file_that_could_not_be_fetched_is_named_in_the_text() -> None:
    missing = EventFile(PHOTO, "plot.png", url="https://x.example/plot.png", failure="it answered 404")
    files = [missing, one(DOCUMENT)]
    text = media.with_missing(BOLD, files)
    assert text.text == "Build 7\n\n📎 plot.png is missing: it answered 404"
    assert text.entities == BOLD.entities
    assert shapes(media.with_files(Rendered((text,)), files)) == ["document"]
    assert shapes(media.with_files(Rendered((text,)), [missing])) == ["text"]
    assert media.with_missing(BOLD, [one(PHOTO)]) is BOLD


def test_a_repeated_album_says_so_in_its_caption() -> None:
    album = media.with_files(Rendered((BOLD,)), [one(PHOTO), one(PHOTO, 2)]).parts[0]
    marked = mark_repeated(album)
    assert isinstance(marked, Album)
    assert marked.items[0].caption.text.startswith("Perhaps a repetition")
    assert marked.items[0].caption.text.endswith(BOLD.text)
    assert marked.items[1].caption.text == ""
    bare = mark_repeated(Media(DOCUMENT, "f", "f", 1, "a/b"))
    assert isinstance(bare, Media)
    assert bare.caption.text == "Perhaps a repetition: Telegram's first answer was lost."


@pytest.mark.parametrize(
    ("description", "refused"),
    [
        ("PHOTO_INVALID_DIMENSIONS", True),
        ("Image_process_failed", True),
        ('failed to send message #2 with the error message "PHOTO_INVALID_DIMENSIONS"', True),
        ("file of size 11000000 bytes is too big for a photo; the maximum size is 10485760 bytes", True),
        ("VOICE_MESSAGES_FORBIDDEN", True),
        ("chat not found", False),
        ("not enough rights to send photos to the chat", False),
    ],
)
def test_refusals_of_a_photo_are_known(description: str, refused: bool) -> None:
    assert media.refused_as_media(description) is refused


def test_documents_replace_what_was_refused() -> None:
    photo = Media(PHOTO, "f", "f.png", 1, "image/png", BOLD, spoiler=True)
    assert media.as_documents(photo) == Media(DOCUMENT, "f", "f.png", 1, "image/png", BOLD)
    assert media.as_documents(Album((photo, photo))) == Album(
        (Media(DOCUMENT, "f", "f.png", 1, "image/png", BOLD),) * 2
    )
    assert media.as_documents(Media(DOCUMENT, "f", "f.png", 1, "image/png")) is None
    assert media.as_documents(BOLD) is None
