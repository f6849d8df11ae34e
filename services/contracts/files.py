"""Files: the attachments of an event, and the answer to an upload."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from services.contracts.details import validation_error
from services.contracts.fields import AN_ID, Flag, Strict, Url, about, storable

MOST_ATTACHMENTS = 10
#: Telegram's limit, in characters (code points).
LONGEST_CAPTION = 1_024


class AttachmentKind(StrEnum):
    """How Telegram shows a file."""

    AUTO = "auto"
    PHOTO = "photo"
    DOCUMENT = "document"
    AUDIO = "audio"
    VIDEO = "video"
    ANIMATION = "animation"
    VOICE = "voice"


def _plain(name: str) -> str:
    if any(ord(character) < ord(" ") or character in '/\\"' for character in name):
        raise ValueError('a file name has no /, \\, " and no control characters')
    if not name.strip(". "):
        raise ValueError("a file name has a letter or a digit")
    return name


#: A name without folders: people see it, and Telegram takes the type of a document from its ending.
FileName = Annotated[str, storable(200, 1), AfterValidator(_plain)]


class Attachment(Strict):
    """One file of an event: exactly one of ``file_id``, ``url`` and ``path`` names it."""

    file_id: Annotated[
        Annotated[str, storable(64, 1)] | None, about("ID of a file from POST /api/v1/files", AN_ID)
    ] = None
    url: Annotated[
        Url | None,
        about(
            "URL that it is fetched from before it is sent, at a public address",
            "https://ci.example/plot.png",
        ),
    ] = None
    path: Annotated[
        Annotated[str, storable(1_024, 1)] | None,
        about("in a file of EVENTS_DIR only: path of the file, relative to that folder", "report.pdf"),
    ] = None
    kind: Annotated[
        AttachmentKind,
        about("how it is shown; auto: as a photo, video, … where Telegram takes it as one", "document"),
    ] = AttachmentKind.AUTO
    filename: Annotated[
        FileName | None, about("name that people see; default: that of the URL or path", "report.pdf")
    ] = None
    caption: Annotated[
        Annotated[str, storable(LONGEST_CAPTION)],
        about(
            "text below the file; default for the first one: the text of the event", "Coverage of the week"
        ),
    ] = ""
    spoiler: Annotated[Flag, about("cover a photo, video or animation until a person taps it", False)] = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [name for name in ("file_id", "url", "path") if getattr(self, name) is not None]
        if len(named) != 1:
            text = "name the file by exactly one of file_id, url and path"
            raise validation_error("Attachment", {(named[-1] if named else "file_id",): text})
        return self


class Uploaded(BaseModel):
    """A stored file. Without an event that names it, it is deleted after an hour."""

    id: Annotated[str, about("ID for `attachments[].file_id`; the same content has the same ID", AN_ID)]
    size: Annotated[int, Field(ge=1), about("bytes", 48_211)]
    sha256: Annotated[
        str,
        about(
            "SHA-256 of the content, hexadecimal",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
    ]
    media_type: Annotated[str, about("type of its content, from its first bytes", "application/pdf")]
    filename: Annotated[
        str | None, about("name of the uploaded part; pass it on in `attachments[]`", "a.pdf")
    ] = None
