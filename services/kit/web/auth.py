"""Bearer keys. One is made at the first start, kept in a file that only the owner reads."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from services.kit.errors import Problem
from services.kit.settings import StartError
from services.kit.web.rate_limit import Guard

T = TypeVar("T")

bearer = HTTPBearer(auto_error=False, description="The key of DATA_DIR/api_key")


class Keyring(Protocol):
    """Knows which bearer keys open a service."""

    def knows(self, key: str) -> bool: ...


@dataclass(frozen=True)
class OneKey:
    """A keyring of one key; only its digest is kept in memory."""

    digest: bytes

    @classmethod
    def of(cls, key: str) -> "OneKey":
        return cls(hashlib.sha256(key.encode()).digest())

    def knows(self, key: str) -> bool:
        return hmac.compare_digest(hashlib.sha256(key.encode()).digest(), self.digest)


def new_key() -> str:
    """A key of 256 random bits; the prefix lets scanners and our own log filter know it."""
    return f"cct_{secrets.token_urlsafe(32)}"


def kept(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """The secret kept at ``path``, made there first if there is none; only the owner reads it.

    Several processes may start at once: each writes its own temporary file, and the link
    that succeeds first decides for all.

    Returns:
        The secret, and whether this call made it.

    Raises:
        StartError: the file is there and holds none.
    """
    made = False
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600)
        with draft.open("w", encoding="ascii") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())  # a secret that was shown must survive a power loss
        try:
            os.link(draft, path)
            made = True
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise StartError(f"DATA_DIR: {path} holds no secret of ours: remove it, and a new one is made")
    return secret, made


def key_from_file(path: Path) -> tuple[str, bool]:
    """The bearer key kept at ``path``, and whether this call made it."""
    return kept(path, new_key)


class Gate:
    """Lets a request in by its bearer key, and blocks addresses that guess.

    A right key is let in whatever came from its address before: behind one address there may be many
    callers, and one with an old key must not shut out the others. A key is too long to be guessed.
    """

    def __init__(self, keyring: Keyring, guard: Guard, proxies: Sequence[str] = ()) -> None:
        self._keyring = keyring
        self._guard = guard
        self._proxies = proxies

    def admit(self, authorization: str | None, caller: HTTPConnection) -> str:
        """The key of an ``Authorization`` header.

        Raises:
            Problem: 401 or 429, the key is missing or wrong.
        """
        return self.find(authorization, caller, lambda key: key if self._keyring.knows(key) else None)

    def find(self, authorization: str | None, caller: HTTPConnection, holder: Callable[[str], T | None]) -> T:
        """Whose the key of an ``Authorization`` header is.

        Args:
            authorization: the header.
            caller: who sent it.
            holder: who has a key; None: nobody.

        Raises:
            Problem: 401 or 429, the key is missing or wrong.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and key and (found := holder(key)) is not None:
            return found
        raise self.refused(caller, "This key is not known." if key else "Send `Authorization: Bearer KEY`.")

    def refused(self, caller: HTTPConnection, detail: str) -> Problem:
        """Notes a wrong key or signature; the answer to it: 401, or 429 to an address that is blocked."""
        address = address_of(caller, self._proxies)
        try:
            self._guard.check_blocked(address)
        except Problem as blocked:
            return blocked
        finally:
            self._guard.failed(address, caller.url.path)
        return Problem(401, "Not authorized", detail, headers={"WWW-Authenticate": "Bearer"})


def address_of(caller: HTTPConnection, proxies: Sequence[str] = ()) -> str:
    """The address that a request came from; through one of the proxies, the one that it wrote down last."""
    address = caller.client.host if caller.client else "unknown"
    if address in proxies or "*" in proxies:
        return caller.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or address
    return address


async def require_key(request: Request) -> None:
    """Dependency of every route that is not public."""
    gate: Gate = request.app.state.gate
    gate.admit(request.headers.get("authorization"), request)
