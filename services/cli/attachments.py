"""The files of ``--attach``: those of this machine are uploaded, a URL is fetched by the bridge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.cli.session import Session, UsageError
from services.contracts.files import MOST_ATTACHMENTS


def uploaded(session: Session, files: Sequence[str] | None) -> list[dict[str, Any]]:
    """The event's ``attachments``, in this order.

    Raises:
        UsageError: a file cannot be read, or there are too many.
    """
    if len(files or ()) > MOST_ATTACHMENTS:
        raise UsageError(f"--attach: a message has at most {MOST_ATTACHMENTS} files, not {len(files or ())}")
    # All are read before the first is uploaded: a wrong name has no effect.
    contents = [None if _is_url(each) else _content(Path(each)) for each in files or ()]
    found = []
    for name, content in zip(files or (), contents, strict=True):
        if content is None:
            found.append({"url": name})
        else:
            session.output.note(f"uploading {name}")
            stored = session.client.upload(content)
            found.append({"file_id": stored.id, "filename": Path(name).name})
    return found


def _is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--attach {path}: {error.strerror}") from None
    if not content:
        raise UsageError(f"--attach {path}: the file is empty")
    return content
