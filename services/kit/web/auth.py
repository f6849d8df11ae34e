"""Authentication by bearer key, and secrets in files that are made at the first start.

Only the owner can read such a file.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from services.kit.errors import Problem
from services.kit.settings import StartError
from services.kit.web.client_address import Networks, client_address
from services.kit.web.login_blocker import LoginBlocker

bearer = HTTPBearer(auto_error=False, description="The key in DATA_DIR/api_key")


class Keyring(Protocol):
    """Knows which bearer keys a service accepts."""

    def knows(self, key: str) -> bool: ...


@dataclass(frozen=True)
class SingleKey:
    """A keyring of one key; only its SHA-256 digest stays in memory."""

    digest: bytes

    @classmethod
    def of(cls, key: str) -> "SingleKey":
        return cls(hashlib.sha256(key.encode()).digest())

    def knows(self, key: str) -> bool:
        return hmac.compare_digest(hashlib.sha256(key.encode()).digest(), self.digest)


def new_key() -> str:
    """A key of 256 random bits; secret scanners and our log filter recognise its prefix."""
    return f"cct_{secrets.token_urlsafe(32)}"


def read_or_create_secret(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """The secret in the file at ``path``; without a file, one is made first.

    Several processes may start at the same time: each writes a temporary file, and the first link
    that succeeds decides for all.

    Args:
        path: of the file; missing parent folders are made.
        make: returns a new secret.

    Returns:
        The secret, and whether this call made it.

    Raises:
        StartError: the file exists and holds no secret.
        OSError: the file cannot be read or written.
    """
    made = not path.exists() and _create(path, make())
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise StartError(f"DATA_DIR: {path} holds no secret of ours: remove it, and a new one is made")
    return secret, made


def _create(path: Path, secret: str) -> bool:
    """Writes a new secret file; false when another process was first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    with draft.open("w", encoding="ascii") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())  # a secret that was shown must survive a power loss
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def read_or_create_key(path: Path) -> tuple[str, bool]:
    """The bearer key in the file at ``path``, and whether this call made it."""
    return read_or_create_secret(path, new_key)


class BearerAuth:
    """Authenticates requests by bearer key, and blocks addresses that guess keys.

    A right key is accepted from a blocked address too: many callers may share one address, and one of
    them with an old key must not shut out the others. A key is too long to be guessed.

    Args:
        keyring: the keys that are accepted.
        blocker: counts wrong keys by address.
        proxies: whose ``X-Forwarded-For`` is trusted.
        is_internal: whether the suite itself made a request: mcp-health tests with wrong keys, which are no
            failed logins.
    """

    def __init__(
        self,
        keyring: Keyring,
        blocker: LoginBlocker,
        proxies: Networks = Networks(),  # noqa: B008 - it never changes
        is_internal: Callable[[HTTPConnection], bool] = lambda _: False,
    ) -> None:
        self._keyring = keyring
        self._blocker = blocker
        self._proxies = proxies
        self._is_internal = is_internal

    def authenticate(self, authorization: str | None, caller: HTTPConnection) -> str:
        """The key of an ``Authorization`` header.

        Raises:
            Problem: 401 or 429, the key is missing or wrong.
        """
        if not self.accepts(authorization):
            raise self.refusal(authorization, caller)
        return bearer_key(authorization)

    def accepts(self, authorization: str | None) -> bool:
        """Whether the header has a key of the keyring."""
        key = bearer_key(authorization)
        return bool(key) and self._keyring.knows(key)

    def refusal(self, authorization: str | None, caller: HTTPConnection) -> Problem:
        """Counts a missing or wrong key; returns the problem to raise: 401 or 429."""
        scheme, _, key = (authorization or "").partition(" ")
        if key and scheme.lower() == "basic":
            return self.rejection(caller, "HTTP Basic is not taken here: send `Authorization: Bearer KEY`.")
        return self.rejection(
            caller, "This key is not known." if key else "Send `Authorization: Bearer KEY`."
        )

    def rejection(self, caller: HTTPConnection, detail: str) -> Problem:
        """Counts a wrong key or signature; returns the problem to raise: 401, or 429 to a blocked address."""
        if self._is_internal(caller):
            self._blocker.record_probe()
        else:
            address = client_address(caller.scope, self._proxies)
            try:
                self._blocker.check(address)
            except Problem as blocked:
                text = f"{blocked.detail} A valid key is accepted all the same. {detail}"
                return Problem(blocked.status, blocked.title, text, headers=blocked.headers)
            finally:
                self._blocker.record_failure(address, caller.url.path)
        return unauthorized(detail)


def bearer_key(authorization: str | None) -> str:
    """The key in an ``Authorization`` header; empty if there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key if scheme.lower() == "bearer" else ""


def unauthorized(detail: str) -> Problem:
    """The problem of a request without a valid key: 401."""
    return Problem(401, "Not authorized", detail, headers={"WWW-Authenticate": "Bearer"})


async def require_key(request: Request) -> None:
    """FastAPI dependency of every route that is not public: any key of the keyring."""
    auth: BearerAuth = request.app.state.bearer_auth
    auth.authenticate(request.headers.get("authorization"), request)
