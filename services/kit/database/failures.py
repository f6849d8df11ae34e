"""Failures of the database that stand until a write succeeds: they make the service not ready.

A failed unit of work stands until the same unit succeeds, or until a trial write does, which needs new pages
as an event does: on a full disk, small changes of old rows still succeed. Corruption stands until the
service is started again, since no later success shows that the data is whole.
"""

import asyncio
import sqlite3

from sqlalchemy.exc import DBAPIError

#: SQLSTATEs of PostgreSQL: data_corrupted and index_corrupted.
_CORRUPTED_STATES = frozenset({"XX001", "XX002"})
_CORRUPTED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def original(error: BaseException) -> BaseException:
    """Returns the driver's error of SQLAlchemy's, and any other error as it is."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def reason_of(error: BaseException) -> str:
    """Returns the first line of the driver's message, or the name of its error."""
    cause = original(error)
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__


def is_corruption(error: BaseException) -> bool:
    """Returns whether the database reports that its files are damaged."""
    cause = original(error)
    # The extended codes of SQLite have the basic one in their last byte.
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return int(code) & 0xFF in _CORRUPTED_CODES
    return getattr(cause, "sqlstate", None) in _CORRUPTED_STATES


class Failures:
    """The failures that stand now. All methods are called in the event loop.

    Attributes:
        noticed: is set when the first failure is noticed, so that health is measured at once.
    """

    def __init__(self) -> None:
        self.noticed = asyncio.Event()
        self._failed: dict[str, str] = {}
        self._corrupt: str | None = None

    @property
    def standing(self) -> str | None:
        """Why nothing or not everything can be stored; None while writes succeed."""
        if self._corrupt is not None:
            return self._corrupt
        return next(reversed(self._failed.values()), None)

    @property
    def can_heal(self) -> bool:
        """Whether a trial write can end all failures that stand."""
        return bool(self._failed) and self._corrupt is None

    def write_failed(self, operation: str, error: BaseException) -> None:
        """Notes that a write failed.

        Args:
            operation: name of the unit of work.
            error: of the driver, or of SQLAlchemy.
        """
        if not self.standing:
            self.noticed.set()
        self._failed.pop(operation, None)
        self._failed[operation] = reason_of(error)
        self._note_corruption(error)

    def read_failed(self, error: BaseException) -> None:
        """Notes that a read failed: only corruption stands, everything else is measured again at once."""
        if not self.standing:
            self.noticed.set()
        self._note_corruption(error)

    def write_succeeded(self, operation: str) -> None:
        """Ends the failure of this unit of work."""
        if self._failed:
            self._failed.pop(operation, None)

    def trial_succeeded(self) -> None:
        """Ends all failures but corruption."""
        self._failed.clear()

    def _note_corruption(self, error: BaseException) -> None:
        if is_corruption(error):
            self._corrupt = reason_of(error)
