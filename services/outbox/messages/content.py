"""What a message shows: texts with entities, documents, files. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class MediaKind(StrEnum):
    """How Telegram shows a file."""

    AUTO = "auto"  #: decided by its content
    PHOTO = "photo"
    DOCUMENT = "document"
    AUDIO = "audio"
    VIDEO = "video"
    ANIMATION = "animation"
    VOICE = "voice"


class FileNotReadyError(Exception):
    """A file could not be had now; a later try may succeed. Its text says why."""


@dataclass(frozen=True, slots=True)
class EventFile:
    """A file of an event: stored (``file_id``), or to be fetched (``url``) before the event is sent.

    ``size`` (bytes), ``media_type`` and ``failure`` (why it could not be fetched) are known once it is read
    with its message.
    """

    kind: MediaKind
    filename: str
    file_id: str | None = None
    url: str | None = None
    caption: str = ""
    spoiler: bool = False
    size: int = 0
    media_type: str = ""
    failure: str | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether it is still to be fetched; its event's messages are sent after that."""
        return self.url is not None and self.file_id is None and self.failure is None


@dataclass(frozen=True, slots=True)
class Text:
    """Text and its entities: never markup, so nothing in it can fail to parse.

    Offsets and lengths of entities are UTF-16 code units, as Telegram counts them.
    """

    text: str
    entities: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """Content that is too long for messages, sent as a file with a caption."""

    filename: str
    content: bytes
    caption: Text


@dataclass(frozen=True, slots=True)
class Media:
    """A stored file as a message of its kind; never of the kind ``auto``. ``size`` is in bytes."""

    kind: MediaKind
    file_id: str
    filename: str
    size: int
    media_type: str
    caption: Text = Text("")
    spoiler: bool = False


@dataclass(frozen=True, slots=True)
class Album:
    """Two to ten files that Telegram shows together; it has no keyboard."""

    items: tuple[Media, ...]


#: What one call of the Bot API sends.
Part = Text | Document | Media | Album


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How a message is sent, beside its content."""

    link_preview: Mapping[str, Any] | None = None  #: LinkPreviewOptions of the Bot API
    protected: bool = False
    pinned: bool = False  #: after its last part


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message as it is sent: its parts in order; the keyboard belongs to the last."""

    parts: tuple[Part, ...]
    reply_markup: Mapping[str, Any] | None = None
    #: Telegram's id of the message that it answers, of the same chat; ignored where that was deleted.
    reply_to: int | None = None
    options: SendOptions = SendOptions()
    deletes: tuple[int, ...] = ()  #: Telegram's ids of the messages to delete; then there are no parts
