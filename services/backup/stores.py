"""Which databases and files are in a backup, and which are left out.

All services may share one data folder, or each has its own one level below a common folder, as the volumes in
Docker Compose: both are searched. A file in no list is not in a backup.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from services.alert_relay import app as alert_relay
from services.backup.manifest import BackupError
from services.backup.settings import BackupSettings
from services.bridge import app as bridge
from services.kit.database import migrate

DATABASES = ("bridge.db", "alert_relay.db")
FILES = ("api_key", "signing_master", "webhook_secret", "dashboard_password")
#: Names in the folder ``archive``: its files, and what the database calls the folder.
ARCHIVE, ARCHIVED = "archive", ("*.jsonl.gz", ".place")
#: What is in the data folder and in no backup, with the reason.
LEFT_OUT: Mapping[str, str] = {
    "dashboard_secret": "sessions of the dashboard end with a restore",
    "dashboard_revoked_sessions": "the sessions that it names have ended",
    "internal_key": "made anew at the start",
    "logs": "no data",
    "telegram_sandbox": "stands for Telegram, which no backup holds",
}
#: A SQLite database outside the data folder, which DATABASE_URL names.
ELSEWHERE = "database_url.db"
#: Packages with tables by the name of their version table, in order of dependency.
PACKAGES: Mapping[str, str] = {
    migrate.version_table(package): package for package in (*bridge.PACKAGES, *alert_relay.PACKAGES)
}


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the data is.

    Args:
        folder: the data folder.
        sqlite: path of each SQLite database, by its path in the data folder.
        postgres: the PostgreSQL database, or None.
        files: path of each other file, by its path in the data folder.
    """

    folder: Path
    sqlite: Mapping[str, Path]
    postgres: URL | None
    files: Mapping[str, Path]


def find(settings: BackupSettings) -> Stores:
    """Finds what is there.

    Raises:
        BackupError: DATABASE_URL is wrong, or there is no database.
    """
    folder, url = settings.data_dir, database_url(settings)
    sqlite = dict(_named(folder, DATABASES))
    elsewhere = sqlite_path(url)
    if elsewhere is not None and elsewhere.exists():
        known = {path.resolve() for path in sqlite.values()}
        if elsewhere.resolve() not in known:
            sqlite[ELSEWHERE] = elsewhere
    postgres = url if url is not None and elsewhere is None else None
    if not sqlite and postgres is None:
        raise BackupError(f"there is no database in {folder} (DATA_DIR), and DATABASE_URL names none")
    return Stores(folder, sqlite, postgres, dict(_named(folder, FILES)) | dict(_archives(folder)))


def _named(folder: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """The files of these names in the folder and in the folders below it."""
    for name in names:
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if path.is_file():
                yield str(path.relative_to(folder)), path


def _archives(folder: Path) -> Iterator[tuple[str, Path]]:
    for place in (folder / ARCHIVE, *sorted(folder.glob(f"*/{ARCHIVE}"))):
        for pattern in ARCHIVED:
            for path in sorted(place.glob(pattern)):
                yield str(path.relative_to(folder)), path


def database_url(settings: BackupSettings) -> URL | None:
    """The URL of the settings, or None.

    Raises:
        BackupError: it is none.
    """
    text = settings.database_url.get_secret_value()
    if not text:
        return None
    try:
        url = make_url(text)
    except ArgumentError:
        # The library's message may contain a part of the password.
        raise BackupError("DATABASE_URL: not a database URL") from None
    if url.get_backend_name() not in ("sqlite", "postgresql") or not url.database:
        raise BackupError("DATABASE_URL: write sqlite:///path or postgresql://user:password@host/name")
    return url


def sqlite_path(url: URL | None) -> Path | None:
    """The file of a SQLite URL; None for PostgreSQL."""
    is_sqlite = url is not None and url.get_backend_name() == "sqlite"
    return Path(str(url.database)) if is_sqlite and url is not None else None


def target_of(name: str, settings: BackupSettings) -> Path:
    """Where a SQLite database or a file of a backup belongs, by its path in the data folder."""
    elsewhere = sqlite_path(database_url(settings))
    if name == ELSEWHERE:
        if elsewhere is None:
            raise BackupError("the backup holds the SQLite database of DATABASE_URL: set DATABASE_URL")
        return elsewhere
    return settings.data_dir / name
