"""Signed requests: a reader of one cannot forge another. Pure.

The signature is HMAC-SHA256 over ``timestamp + "." + body`` with the key's secret; the timestamp is in
seconds since the epoch. A signature is valid for one request, within five minutes of its timestamp.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

SIGNATURE = b"x-cctelegram-signature"
TIMESTAMP = b"x-cctelegram-timestamp"
KEY_ID = b"x-cctelegram-key-id"
TOLERANCE_SECONDS = 300
#: Used signatures are stored this long: until every replica's clock finds them too old.
REMEMBERED_SECONDS = 3_600.0

_SIGNATURE = re.compile(rb"sha256=([0-9a-f]{64})")
_TIMESTAMP = re.compile(rb"\d{1,12}")
_KEY_ID = re.compile(rb"key_[0-9a-f]{1,32}")


class BadSignatureError(Exception):
    """The signature or its headers are invalid; the text says what to change."""


@dataclass(frozen=True, slots=True)
class SignatureClaim:
    """The headers of a signed request, not verified yet."""

    key_id: str
    timestamp: bytes
    signature: str


def claim_of(headers: Mapping[bytes, bytes], now: float) -> SignatureClaim:
    """Reads the headers of a signed request.

    Raises:
        BadSignatureError: one is missing or malformed, or the timestamp is too far from our clock.
    """
    signature = _SIGNATURE.fullmatch(headers.get(SIGNATURE, b""))
    if signature is None:
        raise BadSignatureError("X-CCTelegram-Signature is sha256= and 64 hexadecimal digits in lower case.")
    timestamp = headers.get(TIMESTAMP, b"")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise BadSignatureError("X-CCTelegram-Timestamp is missing or no whole number of seconds.")
    key_id = headers.get(KEY_ID, b"")
    if _KEY_ID.fullmatch(key_id) is None:
        raise BadSignatureError("X-CCTelegram-Key-Id is missing or no id of a key.")
    off = int(timestamp) - now
    if abs(off) > TOLERANCE_SECONDS:
        direction = "ahead" if off > 0 else "behind"
        raise BadSignatureError(
            f"X-CCTelegram-Timestamp is {abs(off):.0f} s {direction}; {TOLERANCE_SECONDS} s are allowed."
        )
    return SignatureClaim(key_id.decode(), timestamp, signature[1].decode())


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of X-CCTelegram-Signature."""
    return f"sha256={_digest(secret, str(timestamp).encode(), body)}"


def holds(claim: SignatureClaim, secret: str, body: bytes) -> bool:
    """Whether the secret made this signature; compared in constant time."""
    return hmac.compare_digest(_digest(secret, claim.timestamp, body), claim.signature)


def _digest(secret: str, timestamp: bytes, body: bytes) -> str:
    mac = hmac.new(secret.encode(), timestamp + b".", hashlib.sha256)
    mac.update(body)
    return mac.hexdigest()
