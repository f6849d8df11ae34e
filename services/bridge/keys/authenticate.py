"""Lets a request in by its key or its signature, or says what it lacks."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.requests import Request

from services.bridge.keys import scopes, signing
from services.bridge.keys.keyring import SIGNATURES, Ring
from services.bridge.keys.keys import Key, Scope
from services.bridge.keys.signing import BadSignatureError
from services.bridge.metrics import SignedRequests
from services.kit.clock import Clock
from services.kit.errors import Problem
from services.kit.web.auth import BearerAuth
from services.kit.web.rate_limit import RateLimiter
from services.outbox.messages import Once


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that was let in: whose it is, and what it uses up."""

    key: Key
    body: bytes
    once: Once | None = None


class Door:
    """Where requests come in.

    Args:
        ring: the keys.
        rate_limiter: their rates.
        registry: of the service.
        clock: the time.
    """

    def __init__(
        self, ring: Ring, rate_limiter: RateLimiter, registry: CollectorRegistry, clock: Clock
    ) -> None:
        self.ring = ring
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._signed = SignedRequests(registry)

    def by_key(self, authorization: str | None, caller: Request, scope: Scope | None) -> Key:
        """The key of an ``Authorization`` header, if it may do this now.

        Raises:
            Problem: 401, 403 or 429.
        """
        auth: BearerAuth = caller.scope["app"].state.bearer_auth
        return self._allowed(auth.owner(authorization, caller, self.ring.holder), scope)

    async def enter(self, request: Request, headers: Mapping[bytes, bytes], scope: Scope) -> Entry:
        """Lets a request in that may be signed instead of carrying a key, and reads its body.

        Raises:
            Problem: 401, 403, 413 or 429.
        """
        if signing.SIGNATURE in headers:
            return await self._by_signature(request, headers, scope)
        key = self.by_key(headers.get(b"authorization", b"").decode("latin-1"), request, scope)
        return Entry(key, await request.body())

    async def _by_signature(self, request: Request, headers: Mapping[bytes, bytes], scope: Scope) -> Entry:
        try:
            claim = signing.claim_of(headers, self._clock.time())
        except BadSignatureError as error:
            raise self._refused(request, str(error)) from None
        found = self.ring.signer(claim.key_id)
        body = await request.body()
        if found is None or not signing.holds(claim, found[1], body):
            raise self._refused(request, "The signature is not that of this body with a key that is known.")
        key = self._allowed(found[0], scope)
        self._signed.count("accepted")
        return Entry(key, body, Once(SIGNATURES, f"{claim.key_id}:{claim.signature}"))

    def _refused(self, caller: Request, detail: str) -> Problem:
        auth: BearerAuth = caller.scope["app"].state.bearer_auth
        self._signed.count("refused")
        return auth.rejection(caller, detail)

    def replayed(self) -> Problem:
        """The answer to a signature that was seen before."""
        self._signed.count("replayed")
        return Problem(
            409,
            "Replayed",
            "This signature was used before. To try again, sign with the time of now: the same "
            "Idempotency-Key gets the first answer.",
        )

    def _allowed(self, key: Key, scope: Scope | None) -> Key:
        if scope is not None and scope not in key.scopes:
            raise missing(scope)
        self._rate_limiter.admit(key.name, key.per_second)
        self.ring.used(key)
        return key


def missing(scope: Scope) -> Problem:
    return Problem(403, "Missing scope", f"This key has no scope {scope.value}.", scope=scope.value)


async def admitted(request: Request) -> None:
    """Dependency of every route that is not public.

    Afterwards ``request.state.key`` is the key, and ``request.state.client`` its name.
    """
    door: Door = request.state.door
    scope = scopes.needed(request.method, request.url.path)
    request.state.key = door.by_key(request.headers.get("authorization"), request, scope)
    request.state.client = request.state.key.name
