"""Makes the secrets of a deployment once, as files that only those read who need them.

``python -m services.kit.secret_files FOLDER NAME:GROUP[=TEMPLATE]...``: each name becomes a file of
mode 0640 that belongs to the numeric group. It holds a random key, or the template with the
other secrets put in for ``{name}``. A file that is there already stays as it is, unless an
environment variable of its name (``API_KEY`` for ``api_key``) brings a value.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.kit.web.auth import new_key


@dataclass(frozen=True)
class Wanted:
    name: str
    group: int
    template: str = ""

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        head, _, template = text.partition("=")
        name, colon, group = head.partition(":")
        if not (name.isidentifier() and colon and group.isdigit()):
            raise ValueError(f"{text!r}: write NAME:GROUP or NAME:GROUP=TEMPLATE")
        return cls(name, int(group), template)


def make(folder: Path, wanted: Sequence[Wanted], environment: Mapping[str, str]) -> list[str]:
    """Writes the files.

    Returns:
        The names of those that were written by this call.
    """
    known: dict[str, str] = {}
    written = []
    for secret in wanted:
        path = folder / secret.name
        value = environment.get(secret.name.upper(), "") or secret.template.format(**known)
        if path.exists() and value in ("", path.read_text(encoding="utf-8")):
            known[secret.name] = path.read_text(encoding="utf-8")
            continue
        known[secret.name] = value or new_key()
        _write(path, known[secret.name], secret.group)
        written.append(secret.name)
    return written


def _write(path: Path, value: str, group: int) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(value, encoding="utf-8")
    os.chown(draft, -1, group)
    draft.chmod(0o640)
    draft.replace(path)


if __name__ == "__main__":
    made = make(Path(sys.argv[1]), [Wanted.parse(text) for text in sys.argv[2:]], os.environ)
    print(f"secrets made: {', '.join(made) or 'none, all were there'}", file=sys.stderr)  # noqa: T201 - for `docker compose logs`
