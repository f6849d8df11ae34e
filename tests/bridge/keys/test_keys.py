"""Keys, scopes and signatures as values."""

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from services.bridge.keys import keys, signing
from services.bridge.keys.authenticate import Authenticator
from services.bridge.keys.keyring import ApiKeyring
from services.bridge.keys.keys import ALL_SCOPES, Key
from services.bridge.keys.signing import BadSignatureError, SignatureClaim
from services.contracts.keys import KeyKind, Scope
from services.kit.errors import Problem
from services.kit.health import Level
from services.kit.web.auth import BearerAuth
from services.kit.web.login_blocker import LoginBlocker
from services.kit.web.rate_limit import RateLimiter, SecurityMetrics
from tests.servers import ManualClock

NOW = 1_000_000.0
OWN, MASTER = "cct_the-own-key", b"m" * 32
SECRET = "cct_sig_secret"


def key(secret: str = "cct_a", **changes: Any) -> Key:  # noqa: S107 - made up
    made = Key(
        id="key_1",
        name="ci",
        kind=KeyKind.BEARER,
        digest=keys.digest_of(secret),
        scopes=frozenset({Scope.EVENTS_WRITE}),
        per_second=None,
        created_at=NOW,
        created_by="default",
    )
    return replace(made, **changes)


def ring(clock: ManualClock, *others: Key) -> ApiKeyring:
    made = ApiKeyring(keys.own(OWN), MASTER, clock)
    made.take(others)
    return made


# Keys


def test_secrets_are_long_differ_and_are_known_by_their_prefix() -> None:
    made = {keys.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(secret.startswith("cct_") and len(secret) >= 47 for secret in made)


def test_of_a_secret_only_its_digest_is_kept() -> None:
    secret = keys.new_secret()
    assert secret not in repr(key(secret))
    assert key(secret).digest == hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "lives"),
    [
        ({}, True),
        ({"expires_at": NOW + 1}, True),
        ({"expires_at": NOW}, False),
        ({"revoked_at": NOW - 1}, False),
        ({"revoked_at": NOW - 1, "expires_at": NOW + 1}, False),
    ],
)
def test_a_key_lives_until_it_is_revoked_or_expires(changes: dict[str, Any], lives: bool) -> None:
    assert key(**changes).lives(NOW) is lives


@given(st.sets(st.sampled_from(Scope)))
def test_scopes_are_read_as_they_were_written(some: set[Scope]) -> None:
    assert keys.scopes_of(keys.scopes_text(some)) == some


def test_a_scope_of_a_later_version_opens_nothing() -> None:
    assert keys.scopes_of("events:write moon:walk") == {Scope.EVENTS_WRITE}


def test_signing_secrets_differ_by_key_and_by_master() -> None:
    made = {
        keys.signing_secret(master, key_id)
        for master in (MASTER, b"n" * 32)
        for key_id in ("key_1", "key_2", "key_12")
    }
    assert len(made) == 6
    assert keys.signing_secret(MASTER, "key_1") in made


# Scopes


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/events", Scope.EVENTS_WRITE),
        ("POST", "/api/v1/events", Scope.EVENTS_WRITE),
        ("GET", "/api/v1/events/1", Scope.MESSAGES_READ),
        ("GET", "/api/v1/event-types", None),
        ("GET", "/api/v1/messages", Scope.MESSAGES_READ),
        ("POST", "/api/v1/messages/1/cancel", Scope.MESSAGES_WRITE),
        ("POST", "/api/v1/dead-letters/replay", Scope.MESSAGES_WRITE),
        ("GET", "/api/v1/stream", Scope.MESSAGES_READ),
        ("POST", "/api/v1/approvals", Scope.APPROVALS_WRITE),
        ("GET", "/api/v1/approvals/1", Scope.APPROVALS_READ),
        ("GET", "/api/v1/responses", Scope.APPROVALS_READ),
        ("GET", "/api/v1/routes", Scope.ROUTES_READ),
        ("PUT", "/api/v1/routes", Scope.ROUTES_WRITE),
        ("POST", "/api/v1/routes/test", Scope.ROUTES_READ),
        ("PUT", "/api/v1/chats/-100", Scope.CHATS_WRITE),
        ("GET", "/api/v1/key", None),
        ("GET", "/api/v1/keys", Scope.KEYS_ADMIN),
        ("DELETE", "/api/v1/keys/key_1", Scope.KEYS_ADMIN),
    ],
)
def test_each_route_asks_for_its_scope(method: str, path: str, scope: Scope | None) -> None:
    assert keys.scope_needed(method, path) == scope


@pytest.mark.parametrize("path", ["/api/v1/new", "/api/v1/messagesx", "/api/v2/events", "/api/v1/"])
def test_what_nobody_listed_is_shut(path: str) -> None:
    assert keys.scope_needed("GET", path) is Scope.KEYS_ADMIN
    assert not keys.is_listed(path)


# The ring


def test_the_ring_knows_living_keys_by_their_secret(clock: ManualClock) -> None:
    made = ring(clock, key("cct_a", expires_at=NOW + 10))
    holder = made.holder("cct_a")
    assert holder is not None
    assert holder.name == "ci"
    own = made.holder(OWN)
    assert own is not None
    assert (own.name, own.scopes) == ("default", ALL_SCOPES)
    assert not made.knows("cct_b")
    clock.advance(10)
    assert not made.knows("cct_a")


def test_the_database_cannot_replace_the_suites_own_key(clock: ManualClock) -> None:
    made = ring(clock, key(OWN, name="thief", scopes=frozenset()))
    holder = made.holder(OWN)
    assert holder is not None
    assert holder.name == "default"


def test_a_key_revoked_here_does_not_come_back_with_an_older_reading(clock: ManualClock) -> None:
    made = ring(clock, key("cct_a"))
    made.remove("key_1")
    assert not made.knows("cct_a")
    made.take([key("cct_a")])
    assert not made.knows("cct_a")


def test_a_signing_key_opens_nothing_as_a_bearer_key(clock: ManualClock) -> None:
    secret = keys.signing_secret(MASTER, "key_1")
    made = ring(clock, key(secret, kind=KeyKind.SIGNING))
    assert not made.knows(secret)
    found = made.signer("key_1")
    assert found is not None
    assert found[1] == secret


async def test_a_signing_key_of_another_master_is_not_known_and_health_says_so(clock: ManualClock) -> None:
    made = ring(clock, key(keys.signing_secret(b"x" * 32, "key_1"), kind=KeyKind.SIGNING))
    assert made.signer("key_1") is None
    reading = await made.check()
    assert (reading.level, reading.measured["other_signing_master"]) == (Level.DEGRADED, 1)


async def test_health_says_when_keys_were_not_read_for_long(clock: ManualClock) -> None:
    made = ApiKeyring(keys.own(OWN), MASTER, clock)
    assert (await made.check()).level is Level.UNKNOWN
    made.take([])
    assert (await made.check()).level is Level.HEALTHY
    clock.advance(6)
    assert (await made.check()).level is Level.DEGRADED


def test_a_watched_key_ends_when_it_is_revoked_or_expires(clock: ManualClock) -> None:
    revoked, expiring, lasting = (
        key(f"cct_{name}", id=f"key_{name}", expires_at=expires)
        for name, expires in (("a", None), ("b", NOW + 10), ("c", None))
    )
    made = ring(clock, revoked, expiring, lasting)
    watched = [made.watch(one) for one in (revoked, expiring, lasting, keys.own(OWN))]
    with watched[0] as one, watched[1] as two, watched[2] as three, watched[3] as own:
        ends = (one, two, three, own)
        assert [end.is_set() for end in ends] == [False, False, False, False]
        made.remove("key_a")
        assert [end.is_set() for end in ends] == [True, False, False, False]
        clock.advance(10)
        made.notify_watchers()
        assert [end.is_set() for end in ends] == [True, True, False, False]
        made.take([])
        assert [end.is_set() for end in ends] == [True, True, True, False]


def test_a_key_that_ended_before_it_was_watched_is_noticed(clock: ManualClock) -> None:
    made = ring(clock, key("cct_a"))
    made.remove("key_1")
    with made.watch(key("cct_a")) as ended:
        assert ended.is_set()


# The authenticator


def authenticator(
    clock: ManualClock, *others: Key, per_second: float = 0.0
) -> tuple[Authenticator, Request, CollectorRegistry]:
    """A authenticator, a caller who stands before it, and what is counted."""
    registry = CollectorRegistry()
    keyring = ring(clock, *others)
    security = SecurityMetrics(registry)
    app = FastAPI()
    app.state.bearer_auth = BearerAuth(keyring, LoginBlocker(security, clock))
    scope = {"type": "http", "app": app, "client": ("192.0.2.1", 1), "path": "/events", "headers": []}
    limiter = RateLimiter(security, clock, per_second)
    return Authenticator(keyring, limiter, registry, clock), Request(scope), registry


async def test_a_missing_scope_is_named(clock: ManualClock) -> None:
    at, caller, _ = authenticator(clock, key("cct_a"))
    with pytest.raises(Problem) as refused:
        await at.by_key("Bearer cct_a", caller, Scope.MESSAGES_READ)
    assert (refused.value.status, refused.value.extensions) == (403, {"scope": "messages:read"})
    assert "messages:read" in refused.value.detail


async def test_each_key_has_its_own_rate(clock: ManualClock) -> None:
    slow = key("cct_a", per_second=1.0)
    at, caller, registry = authenticator(
        clock, slow, key("cct_b", id="key_2", name="other"), per_second=100.0
    )
    for _ in range(2):
        await at.by_key("Bearer cct_a", caller, Scope.EVENTS_WRITE)
    with pytest.raises(Problem) as refused:
        await at.by_key("Bearer cct_a", caller, Scope.EVENTS_WRITE)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "2")
    assert registry.get_sample_value("rate_limit_hits_total") == 1
    for _ in range(50):
        await at.by_key("Bearer cct_b", caller, Scope.EVENTS_WRITE)
    clock.advance(1)
    await at.by_key("Bearer cct_a", caller, Scope.EVENTS_WRITE)


async def test_a_rate_of_nothing_is_no_limit(clock: ManualClock) -> None:
    at, caller, _ = authenticator(clock, key("cct_a", per_second=0.0), per_second=1.0)
    for _ in range(100):
        await at.by_key("Bearer cct_a", caller, Scope.EVENTS_WRITE)


async def test_unknown_keys_are_counted(clock: ManualClock) -> None:
    at, caller, registry = authenticator(clock)
    with pytest.raises(Problem) as refused:
        await at.by_key("Bearer cct_wrong", caller, Scope.EVENTS_WRITE)
    assert refused.value.status == 401
    assert registry.get_sample_value("auth_failed_attempts_total") == 1


# Signatures


def headers(**changes: bytes | None) -> dict[bytes, bytes]:
    made = {
        "signature": signing.sign(SECRET, int(NOW), b"body").encode(),
        "timestamp": str(int(NOW)).encode(),
        "key_id": b"key_1",
    }
    names = {"signature": signing.SIGNATURE, "timestamp": signing.TIMESTAMP, "key_id": signing.KEY_ID}
    return {names[part]: value for part, value in (made | changes).items() if value is not None}


def test_a_signature_is_what_any_other_program_makes() -> None:
    by_hand = hmac.new(SECRET.encode(), b"1000000.body", "sha256").hexdigest()
    assert signing.sign(SECRET, 1_000_000, b"body") == f"sha256={by_hand}"


def test_a_signature_holds_for_its_secret_its_body_and_its_time() -> None:
    claim = signing.claim_of(headers(), NOW)
    assert claim.key_id == "key_1"
    assert signing.holds(claim, SECRET, b"body")
    assert not signing.holds(claim, SECRET, b"bod")
    assert not signing.holds(claim, "other", b"body")
    assert not signing.holds(SignatureClaim("key_1", b"1000001", claim.signature), SECRET, b"body")


def test_a_digit_cannot_wander_between_the_time_and_the_body() -> None:
    claim = SignatureClaim("key_1", b"100000", signing.claim_of(headers(), NOW).signature)
    assert not signing.holds(claim, SECRET, b"0.body")


@pytest.mark.parametrize("off", [-300, 0, 300])
def test_five_minutes_are_allowed(off: float) -> None:
    signing.claim_of(headers(), NOW + off)


@pytest.mark.parametrize(("off", "said"), [(301, "301 s behind"), (-301, "301 s ahead")])
def test_more_is_too_far(off: float, said: str) -> None:
    with pytest.raises(BadSignatureError, match=said):
        signing.claim_of(headers(), NOW + off)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"signature": b"sha256=" + b"A" * 64}, "X-CCTelegram-Signature"),
        ({"signature": b"sha1=" + b"a" * 40}, "X-CCTelegram-Signature"),
        ({"signature": b"sha256=" + b"a" * 64 + b"\n"}, "X-CCTelegram-Signature"),
        ({"timestamp": None}, "X-CCTelegram-Timestamp"),
        ({"timestamp": b"-5"}, "X-CCTelegram-Timestamp"),
        ({"timestamp": b"1e6"}, "X-CCTelegram-Timestamp"),
        ({"timestamp": "\u0661".encode()}, "X-CCTelegram-Timestamp"),
        ({"timestamp": b"9" * 13}, "X-CCTelegram-Timestamp"),
        ({"key_id": None}, "X-CCTelegram-Key-Id"),
        ({"key_id": b"../etc"}, "X-CCTelegram-Key-Id"),
    ],
)
def test_the_header_that_is_wrong_is_named(changes: dict[str, bytes | None], names: str) -> None:
    with pytest.raises(BadSignatureError, match=names):
        signing.claim_of(headers(**changes), NOW)


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(min_size=1, max_size=40))
def test_a_signature_holds_for_one_body_alone(body: bytes, other: bytes, secret: str) -> None:
    signature = signing.sign(secret, 5, body).removeprefix("sha256=")
    assert signing.holds(SignatureClaim("key_1", b"5", signature), secret, other) is (body == other)
