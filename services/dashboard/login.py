"""Who may look: one name, a password kept as an argon2 hash, and a signed session cookie.

The cookie's signing key hangs on a secret of the data folder, the name and the password, so a
restart keeps people logged in and a new password logs everybody out.
"""

import asyncio
import hashlib
import hmac
import secrets
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request
from itsdangerous import BadSignature, URLSafeSerializer
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from starlette.requests import HTTPConnection

from services.dashboard.settings import DashboardSettings
from services.kit.clock import Clock
from services.kit.errors import Problem
from services.kit.settings import StartError
from services.kit.web.auth import BearerAuth, read_or_create_secret
from services.kit.web.login_blocker import LoginBlocker

COOKIE = "cctelegram_dashboard"
SESSION_SECONDS = 12 * 3600
REVOKED_KEPT = 10_000
_hasher = PasswordHash((Argon2Hasher(),))


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    expires: float  #: seconds since the epoch


class Door:
    """Checks passwords and sessions.

    Args:
        username: who may log in.
        password_hash: argon2.
        secret: signs the cookies.
        clock: sessions end by its time.
        enabled: false lets everybody in.
    """

    def __init__(
        self, *, username: str, password_hash: str, secret: str, clock: Clock, enabled: bool = True
    ) -> None:
        self.enabled = enabled
        self._username = username
        self._hash = password_hash
        self._signer = URLSafeSerializer(secret, salt="dashboard session")
        self._clock = clock
        self._revoked: OrderedDict[str, float] = OrderedDict()

    def matches(self, username: str, password: str) -> bool:
        """Whether both are right; takes as long when the name is wrong."""
        known = hmac.compare_digest(username.encode(), self._username.encode())
        return _hasher.verify(password, self._hash) and known

    def open_session(self) -> tuple[str, Session]:
        """A new session and the cookie that stands for it."""
        session = Session(secrets.token_urlsafe(16), self._clock.time() + SESSION_SECONDS)
        return str(self._signer.dumps([session.id, session.expires])), session

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if it is forged, over or logged out."""
        try:
            session_id, expires = self._signer.loads(cookie or "")
        except (BadSignature, ValueError, TypeError):
            return None
        session = Session(str(session_id), float(expires))
        return session if self.valid(session) else None

    def valid(self, session: Session) -> bool:
        return session.expires > self._clock.time() and session.id not in self._revoked

    def close_session(self, session: Session) -> None:
        """Logs out: the cookie is worth nothing from now on, whoever has it."""
        self._revoked[session.id] = session.expires
        if len(self._revoked) > REVOKED_KEPT:
            self._revoked.popitem(last=False)

    def admits(self, connection: HTTPConnection) -> bool:
        return not self.enabled or self.session(connection.cookies.get(COOKIE)) is not None


class Attempts:
    """Log-ins one at a time per process: argon2 takes 64 MiB each, and blocks count exactly."""

    def __init__(self, door: Door, login_blocker: LoginBlocker) -> None:
        self._door = door
        self._login_blocker = login_blocker
        self._turn = asyncio.Lock()

    async def log_in(self, address: str, username: str, password: str) -> tuple[str, Session] | None:
        """A new session, or None if name or password is wrong.

        Raises:
            Problem: 429, the address failed too often.
        """
        self._login_blocker.check(address)
        async with self._turn:
            self._login_blocker.check(address)
            if await asyncio.to_thread(self._door.matches, username, password):
                return self._door.open_session()
        self._login_blocker.record_failure(address, "/login")
        return None


def open_door(settings: DashboardSettings, clock: Clock) -> Door:
    """The door as the settings want it; makes the password and the secret at the first start.

    Raises:
        StartError: the data folder cannot keep them.
    """
    try:
        secret, _ = read_or_create_secret(
            settings.data_dir / "dashboard_secret", lambda: secrets.token_urlsafe(32)
        )
        password = settings.password.get_secret_value() if settings.password else None
        password_hash = _hasher.hash(password) if password else _own_password(settings)
    except OSError as error:
        raise StartError(
            f"DATA_DIR: cannot keep the dashboard's login in {settings.data_dir}: {error.strerror}"
        ) from error
    # An environment's password has another hash at each start, but must not log people out.
    stable = hashlib.sha256(password.encode()).hexdigest() if password else password_hash
    return Door(
        username=settings.username,
        password_hash=password_hash,
        secret=f"{secret}\n{settings.username}\n{stable}",
        clock=clock,
        enabled=settings.auth_enabled,
    )


def _own_password(settings: DashboardSettings) -> str:
    path = settings.data_dir / "dashboard_password"
    password = secrets.token_urlsafe(12)
    password_hash, made = read_or_create_secret(path, lambda: _hasher.hash(password))
    if made and settings.auth_enabled:
        _tell(settings.username, password, path)
    return password_hash


def _tell(username: str, password: str, path: Path) -> None:
    print(  # noqa: T201 - printed once, on purpose, past the log and its redaction
        f"dashboard login: {username} / {password} (its hash is kept in {path}; delete that for a new one)",
        file=sys.stderr,
        flush=True,
    )


def same_origin(connection: HTTPConnection) -> bool:
    """Whether a browser sent this from our own page; programs that are no browser send no origin."""
    origin = connection.headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == connection.headers.get("host")
    return connection.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def require_viewer(request: Request) -> None:
    """Dependency: lets in a session, or a program with the suite's bearer key."""
    door: Door = request.state.door
    if door.admits(request):
        return
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise Problem(
            401, "Not authorized", "Log in at /login, or send `Authorization: Bearer KEY`.", headers=_BEARER
        )
    auth: BearerAuth = request.app.state.bearer_auth
    auth.authenticate(authorization, request)


_BEARER = {"WWW-Authenticate": "Bearer"}
