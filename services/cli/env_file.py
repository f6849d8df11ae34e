"""Writes variables into a file such as ``.env``; its other lines stay as they are."""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+-]*")


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Replaces the lines of these variables, or adds them; only the owner may read the file then.

    Raises:
        OSError: the file cannot be read or written.
        UnicodeDecodeError: it is not UTF-8 text.
    """
    # A link is kept: it may lead to where an operator keeps settings.
    path = path.resolve()
    before = path.read_bytes().decode() if path.exists() else ""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    with draft.open("w", encoding="utf-8", newline="") as file:
        file.write(merged(before, variables))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def merged(before: str, variables: Mapping[str, str]) -> str:
    """The text of the file with these variables. Pure."""
    lines, left = "", dict(variables)
    for binding in parse_stream(io.StringIO(before)):
        if binding.key not in variables:
            lines += binding.original.string
        elif binding.key in left:
            lines += _line(binding.key, left.pop(binding.key))
    if lines and not lines.endswith("\n"):
        lines += "\n"
    return lines + "".join(_line(name, value) for name, value in left.items())


def _line(name: str, value: str) -> str:
    """A line that Docker Compose and `make run` read as this value.

    Raises:
        ValueError: the value has characters that the two do not read back the same.
    """
    if not value.isprintable() or any(part in value for part in ("'", "\\", "${")):
        raise ValueError(f"{name}: a line break, or one of ' \\ ${{ cannot be stored")
    return f"{name}={value}\n" if _PLAIN.fullmatch(value) else f"{name}='{value}'\n"
