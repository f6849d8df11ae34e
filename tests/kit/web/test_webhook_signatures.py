"""Signatures by Standard Webhooks, checked by its published example and by the law itself."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.settings import BridgeSettings
from services.kit.web import webhook_signatures


def test_the_published_example_is_signed_as_published() -> None:
    """From the specification's own libraries (standard-webhooks, test vectors)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    made = webhook_signatures.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.uuids().map(str), st.integers(0, 2**40), st.binary())
def test_the_signature_is_the_hmac_over_id_time_and_body(
    key: bytes, call_id: str, timestamp: int, body: bytes
) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    signed = b".".join([call_id.encode(), str(timestamp).encode(), body])
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert webhook_signatures.signature(secret, call_id, timestamp, body) == f"v1,{wanted}"


def test_a_new_secret_is_one_that_can_sign() -> None:
    assert len(webhook_signatures.key_of(webhook_signatures.new_secret())) == 32
    assert webhook_signatures.new_secret() != webhook_signatures.new_secret()


@pytest.mark.parametrize("secret", ["whsec_", "whsec_short", "whsec_not base64!", "whsec_" + "A" * 200])
def test_a_secret_that_is_none_is_refused_at_the_start(secret: str) -> None:
    with pytest.raises(ValueError, match="signing secret"):
        BridgeSettings(webhook_signing_secret=secret)
