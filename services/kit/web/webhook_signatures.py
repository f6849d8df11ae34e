"""Signatures of Standard Webhooks (https://www.standardwebhooks.com), for which many libraries exist. Pure.

While a secret is rotated, the old and the new one both sign; a receiver accepts either.
"""

import base64
import binascii
import hashlib
import hmac
from secrets import token_bytes

_PREFIX = "whsec_"
_KEY_BYTES = 32
_SHORTEST, _LONGEST = 24, 64


def new_secret() -> str:
    return _PREFIX + base64.b64encode(token_bytes(_KEY_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key that a secret encodes.

    Raises:
        ValueError: the secret is not ``whsec_`` and 24 to 64 bytes in base64.
    """
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("a signing secret is whsec_ followed by base64") from error
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"a signing secret has {_SHORTEST} to {_LONGEST} bytes, this one {len(key)}")
    return key


def signature(secret: str, call_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{call_id}.{timestamp}.".encode() + body
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def check(secrets: str) -> None:
    """Checks secrets that are separated by spaces.

    Raises:
        ValueError: one is not a signing secret.
    """
    for secret in secrets.split():
        key_of(secret)


def headers(secrets: str, call_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a call.

    Args:
        secrets: one ``whsec_…`` or several, separated by spaces, the newest first.
        call_id: the same for every attempt, so that the receiver recognises repetitions.
        timestamp: of this attempt, whole seconds since the epoch.
        body: the bytes that are sent.
    """
    signatures = (signature(secret, call_id, timestamp, body) for secret in secrets.split())
    return {
        "webhook-id": call_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
