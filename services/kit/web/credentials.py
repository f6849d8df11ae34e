"""The key of a request, as programs that cannot set a bearer header send it."""

import base64
import binascii
from collections.abc import Mapping

_AUTHORIZATION = b"authorization"


def with_bearer(headers: Mapping[bytes, bytes], auth: str = "") -> dict[bytes, bytes]:
    """The headers, with the key in ``Authorization: Bearer``.

    Args:
        headers: of the request. HTTP Basic has the key as the password, under any user name; a key without
            a password, as in ``curl -u KEY:``, is the user name.
        auth: ntfy's query parameter: a whole ``Authorization`` value in base64, of either alphabet. It
            counts only without the header.
    """
    given = headers.get(_AUTHORIZATION, b"") or _from_base64(auth)
    scheme, _, rest = given.partition(b" ")
    if scheme.lower() == b"basic":
        user, _, password = _from_base64(rest.decode("latin-1").strip()).partition(b":")
        given = b"Bearer " + (password or user)
    return {**headers, _AUTHORIZATION: given}


def _from_base64(text: str) -> bytes:
    """The decoded text; empty if it is none, which then is a missing key."""
    padded = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
