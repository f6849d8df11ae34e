"""Login: one name, a password stored as an argon2 hash, and signed session cookies.

The signing key of the cookies derives from a secret in the data folder, the name and the password. Sessions
therefore survive a restart, and a new password ends all of them. A logout survives a restart too.
"""

import asyncio
import hashlib
import hmac
import secrets
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadSignature, URLSafeSerializer
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from starlette.requests import HTTPConnection

from services.dashboard.login_queue import LoginQueue
from services.dashboard.revocations import Revocations, read_revocations
from services.dashboard.settings import DashboardSettings
from services.kit.clock import Clock
from services.kit.settings import StartError
from services.kit.web.auth import read_or_create_secret
from services.kit.web.login_blocker import LoginBlocker, network_of
from services.kit.web.rate_limit import SecurityMetrics

COOKIE = "cctelegram_dashboard"
SESSION_SECONDS = 12 * 3600
#: The most networks of successful logins in memory.
KNOWN_NETWORKS = 1_000
_hasher = PasswordHash((Argon2Hasher(),))


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    expires: float  #: seconds since the epoch


class Authenticator:
    """Checks passwords, and issues and revokes sessions.

    Args:
        username: name for the login.
        password_hash: argon2 hash.
        secret: signs the cookies.
        revocations: the sessions that were ended before they expired.
        clock: sessions expire by its time.
        enabled: False: no login is needed.
    """

    def __init__(
        self,
        *,
        username: str,
        password_hash: str,
        secret: str,
        revocations: Revocations,
        clock: Clock,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self._username = username
        self._hash = password_hash
        self._signer = URLSafeSerializer(secret, salt="dashboard session")
        self._clock = clock
        self._revocations = revocations

    def matches(self, username: str, password: str) -> bool:
        """Whether name and password are right; a wrong name takes as long to check."""
        known = hmac.compare_digest(username.encode(), self._username.encode())
        return _hasher.verify(password, self._hash) and known

    def open_session(self) -> tuple[str, Session]:
        """Returns the cookie of a new session, and the session."""
        session = Session(secrets.token_urlsafe(16), self._clock.time() + SESSION_SECONDS)
        return str(self._signer.dumps([session.id, session.expires])), session

    def session(self, cookie: str | None) -> Session | None:
        """Returns the session of a cookie; None if it is forged, expired or revoked."""
        try:
            session_id, expires = self._signer.loads(cookie or "")
        except (BadSignature, ValueError, TypeError):
            return None
        session = Session(str(session_id), float(expires))
        return session if self.valid(session) else None

    def valid(self, session: Session) -> bool:
        return session.expires > self._clock.time() and not self._revocations.include(
            session.id, session.expires
        )

    async def close_session(self, session: Session) -> None:
        """Revokes a session: every copy of its cookie is invalid from now on, also after a restart."""
        await self._revocations.add(session.id, session.expires)

    def admits(self, connection: HTTPConnection) -> bool:
        """Whether the request has a valid session, or no login is needed."""
        return not self.enabled or self.session(connection.cookies.get(COOKIE)) is not None


class Logins:
    """Checks logins one by one, so that each failed login is counted before the next is checked.

    Args:
        authenticator: knows name and password.
        login_blocker: counts failed logins by address and name.
        metrics: of the service.
    """

    def __init__(
        self, authenticator: Authenticator, login_blocker: LoginBlocker, metrics: SecurityMetrics
    ) -> None:
        self._authenticator = authenticator
        self._login_blocker = login_blocker
        self._queue = LoginQueue(metrics)
        #: Networks of successful logins, which go first; the newest last.
        self._known: OrderedDict[str, None] = OrderedDict()

    async def log_in(self, address: str, username: str, password: str) -> tuple[str, Session] | None:
        """Returns the cookie and session of a login; None if name or password is wrong.

        Raises:
            Problem: 429, there were too many failed logins with this name from this address, or too many
                logins wait.
        """
        network = network_of(address)
        self._login_blocker.check(address, username)
        failures = -1 if network in self._known else self._login_blocker.failures(address, username)
        async with self._queue.turn(network, failures):
            self._login_blocker.check(address, username)
            if await asyncio.to_thread(self._authenticator.matches, username, password):
                self._remember(network)
                return self._authenticator.open_session()
            self._login_blocker.record_failure(address, "/login", username)
        return None

    def _remember(self, network: str) -> None:
        self._known[network] = None
        self._known.move_to_end(network)
        if len(self._known) > KNOWN_NETWORKS:
            self._known.popitem(last=False)


def open_authenticator(settings: DashboardSettings, clock: Clock) -> Authenticator:
    """Builds the authenticator; the first start generates the secret, and the password if none is set.

    Raises:
        StartError: the data folder cannot store them.
    """
    try:
        secret, _ = read_or_create_secret(
            settings.data_dir / "dashboard_secret", lambda: secrets.token_urlsafe(32)
        )
        password = settings.password.get_secret_value() if settings.password else None
        password_hash = _hasher.hash(password) if password else _generated_password(settings)
        path = settings.data_dir / "dashboard_revoked_sessions"
        revocations = read_revocations(path, clock, SESSION_SECONDS)
    except OSError as error:
        raise StartError(
            f"DATA_DIR: cannot keep the dashboard's login in {settings.data_dir}: {error.strerror}"
        ) from error
    # A password from the environment has another hash at each start, but must not end the sessions.
    stable = hashlib.sha256(password.encode()).hexdigest() if password else password_hash
    return Authenticator(
        username=settings.username,
        password_hash=password_hash,
        secret=f"{secret}\n{settings.username}\n{stable}",
        revocations=revocations,
        clock=clock,
        enabled=settings.auth_enabled,
    )


def _generated_password(settings: DashboardSettings) -> str:
    path = settings.data_dir / "dashboard_password"
    password = secrets.token_urlsafe(12)
    password_hash, made = read_or_create_secret(path, lambda: _hasher.hash(password))
    if made and settings.auth_enabled:
        _print_password(settings.username, password, path)
    return password_hash


def _print_password(username: str, password: str, path: Path) -> None:
    print(  # noqa: T201 - printed once, on purpose, past the log and its redaction
        f"dashboard login: {username} / {password} (hash in {path}; delete it for a new password)",
        file=sys.stderr,
        flush=True,
    )
