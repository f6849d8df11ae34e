"""The manifest: what an archive holds, in which versions, with a checksum of each part. Pure."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: Name of the manifest in the archive; it comes first.
NAME = "manifest.json"
#: Parts are ``databases/…`` and ``files/…``; no part of a name begins with a dot, except ``.place``.
_PART_NAME = r"^(databases|files)(/(\.place|[A-Za-z0-9_][A-Za-z0-9_.-]*)){1,4}$"


class BackupError(Exception):
    """The backup or the restore cannot be done; the text has one line for each cause, and is for people."""


class Kind(StrEnum):
    """What a part is."""

    SQLITE = "sqlite"  #: a SQLite file
    POSTGRESQL = "postgresql"  #: a dump in pg_dump's custom format
    FILE = "file"  #: any other file


class Part(BaseModel):
    """One file of the archive.

    Args:
        name: in the archive; behind ``databases/`` or ``files/`` it is the path in the data folder.
        kind: of the part.
        size: in bytes.
        sha256: checksum, hexadecimal.
        mode: permissions of the file.
        taken_at: when its copy began, seconds since the epoch.
        revisions: of a database, by the name of its version table.
        messages: of a database, number of messages by state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=_PART_NAME)]
    kind: Kind
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mode: Annotated[int, Field(ge=0, le=0o777)]
    taken_at: float
    revisions: dict[str, str] = {}
    messages: dict[str, int] = {}

    @property
    def path(self) -> str:
        """Its path in the data folder."""
        return self.name.partition("/")[2]


class Manifest(BaseModel):
    """What an archive holds.

    Args:
        format: of the archive.
        version: of the program that wrote it.
        created_at: RFC 3339.
        parts: in the order of the archive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: str
    created_at: str
    parts: tuple[Part, ...]

    def of_kind(self, kind: Kind) -> list[Part]:
        return [part for part in self.parts if part.kind is kind]


def parse(text: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        BackupError: it is none, or of a later format.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors()[:3])
        raise BackupError(f"the archive's {NAME} is not one that this version can read ({where})") from None


def check_revisions(manifest: Manifest, known: Mapping[str, Collection[str]]) -> None:
    """Refuses a backup of a newer program.

    Args:
        manifest: of the backup.
        known: the revisions that this program knows, by the name of the version table, oldest first.

    Raises:
        BackupError: a database has a revision or a package that this program does not know.
    """
    newer = [
        f"{part.name}: {table} is at {revision}, and this program knows {_up_to(known.get(table))}"
        for part in manifest.parts
        for table, revision in part.revisions.items()
        if revision not in known.get(table, ())
    ]
    if newer:
        raise BackupError(
            "\n".join(
                [*newer, f"the backup is of a newer program: restore it with version {manifest.version}"]
            )
        )


def _up_to(revisions: Collection[str] | None) -> str:
    return f"revisions up to {list(revisions)[-1]}" if revisions else "no such table"
