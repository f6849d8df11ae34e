"""The files of a message as its parts: albums, captions, what replaces a refused photo. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.outbox.files import limits
from services.outbox.messages import Album, EventFile, Media, MediaKind, Part, Rendered, Text
from services.outbox.telegram.text import CAPTION_LIMIT, ENTITY_LIMIT, Builder, room_for_repeated

#: Longest reason why a file is missing that a message shows, characters.
LONGEST_REASON = 200
#: In Telegram's descriptions: it does not take the file as what it was sent as, but may as a document.
_REFUSED = (
    "photo_",
    "image_process_failed",
    "too big for a photo",
    "video_content_type_invalid",
    "video_file_invalid",
    "voice_messages_forbidden",
)


def refused_as_media(description: str) -> bool:
    """Whether an error of the Bot API refuses a file only as what it was sent as."""
    lowered = description.lower()
    return any(part in lowered for part in _REFUSED)


def as_documents(part: Part) -> Part | None:
    """The same files as documents; None where they are that, or no files, already."""
    if isinstance(part, Media) and part.kind is not MediaKind.DOCUMENT:
        return replace(part, kind=MediaKind.DOCUMENT, spoiler=False)
    if isinstance(part, Album) and part.items[0].kind is not MediaKind.DOCUMENT:
        return Album(tuple(replace(one, kind=MediaKind.DOCUMENT, spoiler=False) for one in part.items))
    return None


def with_missing(text: Text, files: Iterable[EventFile]) -> Text:
    """The text with a line for each file that could not be fetched, and why."""
    missing = [one for one in files if one.failure is not None]
    if not missing:
        return text
    out = Builder().add(text).text("\n")
    for one in missing:
        out.text(f"\n📎 {one.filename} is missing: {(one.failure or '')[:LONGEST_REASON]}")
    return out.build()


def with_files(rendered: Rendered, files: Sequence[EventFile], *, captions: bool = True) -> Rendered:
    """Adds the files of an event to its text.

    A text that fits is the caption of the first file; a longer one is sent before the files. Where the
    message has buttons, which no album can have, the text with them comes after the album.

    Args:
        rendered: the text of the event.
        files: of the event; those that could not be fetched are left out.
        captions: false: the text stays a message of its own, after the files, so that it can be edited.
    """
    media = [_media(one) for one in files if one.failure is None and one.file_id is not None]
    if not media:
        return rendered
    groups = _grouped(media)
    has_keyboard = rendered.reply_markup is not None
    if captions and _fits(rendered, groups, has_keyboard=has_keyboard):
        (text,) = rendered.parts
        if isinstance(text, Text):
            return replace(rendered, parts=(_captioned(groups[0], text), *groups[1:]))
    if has_keyboard or not captions:
        return replace(rendered, parts=(*groups, *rendered.parts))
    return replace(rendered, parts=(*rendered.parts, *groups))


def _media(one: EventFile) -> Media:
    return Media(
        kind=MediaKind.DOCUMENT if one.kind is MediaKind.AUTO else one.kind,
        file_id=one.file_id or "",
        filename=one.filename,
        size=one.size,
        media_type=one.media_type,
        caption=Text(one.caption),
        spoiler=one.spoiler,
    )


def _grouped(media: Sequence[Media]) -> list[Media | Album]:
    """The files in their order; neighbours that Telegram shows together are an album."""
    groups: list[list[Media]] = []
    for one in media:
        album = limits.album_of(one.kind)
        last = groups[-1] if groups else None
        fits = last is not None and len(last) < limits.LARGEST_ALBUM
        if last is not None and fits and album is not None and limits.album_of(last[0].kind) == album:
            last.append(one)
        else:
            groups.append([one])
    return [Album(tuple(group)) if len(group) > 1 else group[0] for group in groups]


def _fits(rendered: Rendered, groups: Sequence[Media | Album], *, has_keyboard: bool) -> bool:
    """Whether the text can be the caption of the first file."""
    if has_keyboard and (len(groups) > 1 or isinstance(groups[0], Album)):
        return False
    first = groups[0].items[0] if isinstance(groups[0], Album) else groups[0]
    text = rendered.parts[0]
    if len(rendered.parts) > 1 or not isinstance(text, Text) or first.caption.text:
        return False
    return len(text.text) <= CAPTION_LIMIT - room_for_repeated() and len(text.entities) <= ENTITY_LIMIT


def _captioned(group: Media | Album, text: Text) -> Media | Album:
    if isinstance(group, Media):
        return replace(group, caption=text)
    first, *others = group.items
    return Album((replace(first, caption=text), *others))
