"""Creates the secret files of a deployment, each readable by one group alone.

``python -m services.kit.secret_files FOLDER NAME:GROUP[=TEMPLATE]...``: each name becomes a file of
mode 0640 that belongs to the numeric group. It contains a random key, or the template with earlier
secrets in place of ``{name}``. An existing file is not changed, unless an environment variable of its
name (``API_KEY`` for ``api_key``) has another value.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.kit.web.auth import new_key


@dataclass(frozen=True)
class SecretFile:
    """A secret to create: file name, numeric group, and template; without one the secret is random."""

    name: str
    group: int
    template: str = ""

    @classmethod
    def parse(cls, text: str) -> "SecretFile":
        head, _, template = text.partition("=")
        name, colon, group = head.partition(":")
        if not (name.isidentifier() and colon and group.isdigit()):
            raise ValueError(f"{text!r}: write NAME:GROUP or NAME:GROUP=TEMPLATE")
        return cls(name, int(group), template)


def create(folder: Path, secrets: Sequence[SecretFile], environment: Mapping[str, str]) -> list[str]:
    """Writes the files that are missing or whose variable has another value.

    Returns:
        The names of the files that this call wrote.
    """
    known: dict[str, str] = {}
    written = []
    for secret in secrets:
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
    created = create(Path(sys.argv[1]), [SecretFile.parse(text) for text in sys.argv[2:]], os.environ)
    print(f"secrets created: {', '.join(created) or 'none, all exist'}", file=sys.stderr)  # noqa: T201 - for `docker compose logs`
