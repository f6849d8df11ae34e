"""Requests that the suite makes of itself: marked by the sender, and believed only with the suite's secret.

They are counted apart (:mod:`services.kit.web.middleware`), are no failed logins
(:class:`services.kit.web.auth.BearerAuth`), and are traced only where they are slow or fail
(:mod:`services.kit.telemetry.sdk_processor`).
"""

import hmac
import re
from pathlib import Path

from starlette.types import Scope

from services.kit.http_client import INTERNAL_HEADER, INTERNAL_KEY_HEADER, InternalMark
from services.kit.settings import ServiceSettings, StartError
from services.kit.web.auth import new_key, read_or_create_secret

_HEADER, _KEY_HEADER = (name.lower().encode() for name in (INTERNAL_HEADER, INTERNAL_KEY_HEADER))
_SERVICE = re.compile(rb"[a-z0-9-]{1,32}")


def own_mark(settings: ServiceSettings, service: str) -> InternalMark:
    """The mark of requests that a service sends to the others; the secret is made where there is none.

    Args:
        settings: of the service.
        service: its name.

    Raises:
        StartError: the data folder cannot hold the secret.
    """
    if settings.internal_key is not None:
        return InternalMark(service, settings.internal_key.get_secret_value())
    try:
        key, _ = read_or_create_secret(_file(settings), new_key)
    except OSError as error:
        raise StartError(
            f"DATA_DIR: cannot keep the internal key in {settings.data_dir}: {error.strerror}"
        ) from error
    return InternalMark(service, key)


class InternalRequests:
    """Knows the requests that services of the suite make of this one.

    Args:
        settings: of this service. Without a secret in them, the file that a sender made is read when the
            first marked request comes; without a file, no mark is believed.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        key = settings.internal_key
        self._key = None if key is None else key.get_secret_value().encode()
        self._path = _file(settings)

    def sender(self, scope: Scope) -> str | None:
        """Name of the service that sent the request; None where it has no mark, or one with another key."""
        service, given = b"", b""
        for name, value in scope["headers"]:
            if name == _HEADER:
                service = value
            elif name == _KEY_HEADER:
                given = value
        if not given or _SERVICE.fullmatch(service) is None:
            return None
        key = self._key or self._stored()
        return service.decode() if key is not None and hmac.compare_digest(given, key) else None

    def _stored(self) -> bytes | None:
        try:
            self._key = self._path.read_bytes().strip() or None
        except OSError:
            return None
        return self._key


def _file(settings: ServiceSettings) -> Path:
    return settings.data_dir / "internal_key"
