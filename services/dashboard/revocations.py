"""Sessions that were ended before they expire, in a file, so that a restart does not make them valid again.

A session stays in the file until it would have expired. There is room for MAX_REVOKED sessions: when it is
full, the one that expires first is removed, and every session that expires no later is invalid from then on.
"""

import asyncio
import os
from pathlib import Path

import structlog
from pydantic import BaseModel, Field, ValidationError

from services.kit.clock import Clock

log = structlog.get_logger()

MAX_REVOKED = 10_000


class StoredRevocations(BaseModel):
    """The content of the file; times are seconds since the epoch.

    Args:
        invalid_until: sessions that expire at this time or before are invalid.
        sessions: session id → when it would have expired.
    """

    invalid_until: float = Field(0.0, ge=0, allow_inf_nan=False)
    sessions: dict[str, float] = {}


class Revocations:
    """The revoked sessions.

    Args:
        path: of the file.
        stored: its content.
        clock: expired sessions are removed by its time.
    """

    def __init__(self, path: Path, stored: StoredRevocations, clock: Clock) -> None:
        self._path = path
        self._stored = stored
        self._clock = clock
        self._writing = asyncio.Lock()

    def include(self, session_id: str, expires: float) -> bool:
        """Whether a session that expires then is revoked."""
        return expires <= self._stored.invalid_until or session_id in self._stored.sessions

    async def add(self, session_id: str, expires: float) -> None:
        """Revokes a session at once, then stores that.

        A file that cannot be written is logged: the session is then valid again after a restart.
        """
        self._stored.sessions[session_id] = expires
        self._remove_expired()
        try:
            async with self._writing:
                await asyncio.to_thread(_write, self._path, self._stored.model_dump_json().encode())
        except OSError as error:
            log.error("revocation_not_stored", path=str(self._path), error=error.strerror)  # noqa: TRY400 - the cause is one line

    def _remove_expired(self) -> None:
        now = self._clock.time()
        living = {key: expires for key, expires in self._stored.sessions.items() if expires > now}
        while len(living) > MAX_REVOKED:
            first = min(living, key=lambda key: living[key])
            self._stored.invalid_until = max(self._stored.invalid_until, living.pop(first))
        self._stored.sessions = living


def read_revocations(path: Path, clock: Clock, session_seconds: float) -> Revocations:
    """The revocations in the file at ``path``; none without a file.

    If the file is damaged, all sessions that exist are invalid.

    Args:
        path: of the file.
        clock: the time.
        session_seconds: how long a new session is valid.

    Raises:
        OSError: the file cannot be read, or is damaged and cannot be replaced.
    """
    try:
        stored = StoredRevocations.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        stored = StoredRevocations()
    except ValidationError:
        log.warning("revocations_damaged", path=str(path), effect="all sessions are ended")
        stored = StoredRevocations(invalid_until=clock.time() + session_seconds)
        _write(path, stored.model_dump_json().encode())
    return Revocations(path, stored, clock)


def _write(path: Path, content: bytes) -> None:
    """Replaces the file; a crash leaves the old content or the new one."""
    draft = path.with_name(f".{path.name}.draft")
    draft.touch(mode=0o600)
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
