"""Names of files: safe ones, for people and for Telegram. Pure."""

import mimetypes
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

LONGEST = 200
#: Types whose usual ending Python does not know, or has several of.
_ENDINGS = {
    "image/webp": ".webp",
    "audio/ogg": ".ogg",
    "text/plain": ".txt",
    "application/octet-stream": ".bin",
}


def safe(name: str) -> str:
    """The last component of a path, without characters that a file name cannot have; may be empty."""
    last = name.replace("\\", "/").rpartition("/")[2]
    # Lone surrogates are not printable either.
    shown = "".join(c for c in last if c.isprintable() and c not in '/\\"')
    return shown.strip(". ")[:LONGEST]


def of_url(url: str) -> str:
    """The name in a URL's path; empty where it has none."""
    return safe(unquote(urlsplit(url).path, errors="replace"))


def default(media_type: str) -> str:
    """A name for a file that has none: its ending tells programs what it is."""
    ending = _ENDINGS.get(media_type) or mimetypes.guess_extension(media_type) or ""
    return f"file{ending}"


def complete(name: str, media_type: str) -> str:
    """The name, or the default one where it is empty."""
    return name or default(media_type)


def of_path(path: str) -> str:
    """The name of a file by its path."""
    return safe(PurePosixPath(path).name)
