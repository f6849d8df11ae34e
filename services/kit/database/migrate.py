"""Migrates a database to the newest schema at start, by Alembic.

Each package that owns tables has its revisions in ``services/<package>/migrations`` and its own version
table, so two packages can share a database without sharing a history.
"""

import importlib.util
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

# Alembic's `context` and `op` are process-wide, and two services of the suite may start at once.
_one_at_a_time = threading.Lock()
#: Replicas that start together migrate one after the other; an arbitrary number.
ADVISORY_LOCK = 0x6363_7467


def revisions_of(package: str) -> Path:
    """Returns the folder of a package's revisions, e.g. of ``services.outbox``."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, package  # noqa: S101 - named in code, not by a user
    assert spec.origin is not None, package  # noqa: S101 - the same
    return Path(spec.origin).parent / "migrations"


def version_table(package: str) -> str:
    """Returns the name of the table that holds a package's revision."""
    return f"{package.rpartition('.')[2]}_version"


def known_revisions(package: str) -> tuple[str, ...]:
    """Returns the revisions that this program knows, oldest first."""
    scripts = ScriptDirectory.from_config(_config(package))
    return tuple(script.revision for script in reversed(list(scripts.walk_revisions())))


def upgrade(connection: Connection, package: str, revision: str = "head") -> None:
    """Runs a package's missing revisions on a connection, in its transaction; up to one of them, or all."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    config = _config(package)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = version_table(package)
    with _one_at_a_time:
        command.upgrade(config, revision)


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(revisions_of(package)))
    return config
