"""Calls that upload and read files."""

from services.client import call
from services.client.call import Call
from services.contracts.files import Uploaded

_FILES = "/api/v1/files"


def upload(content: bytes) -> Call[Uploaded]:
    """Stores a file for ``attachments`` of events; it is deleted after an hour if no event names it.

    Args:
        content: of the file. The same content has the same ID, so a retry stores nothing more.
    """
    return Call(
        method="POST",
        target=_FILES,
        read=Uploaded.model_validate_json,
        body=content,
        headers={"Content-Type": "application/octet-stream"},
        repeatable=True,
    )


def file(file_id: str) -> Call[bytes]:
    """Reads the content of a file."""
    target = call.path(f"{_FILES}/{{}}", file_id)
    return Call(method="GET", target=target, read=bytes, repeatable=True)
