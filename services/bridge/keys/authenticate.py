"""Admits a request by its bearer key or its signature."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.requests import Request

from services.bridge.keys import keys, signing
from services.bridge.keys.keyring import SIGNATURES, ApiKeyring
from services.bridge.keys.keys import Key
from services.bridge.keys.signing import BadSignatureError
from services.bridge.metrics import SignedRequests
from services.contracts.keys import Scope
from services.kit.clock import Clock
from services.kit.errors import Problem
from services.kit.web.auth import BearerAuth, bearer_key
from services.kit.web.bodies import without_mark
from services.kit.web.rate_limit import RateLimiter
from services.outbox.messages import SingleUse


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """An admitted request: its key, its body, and its signature as a single-use name."""

    key: Key
    body: bytes
    once: SingleUse | None = None


class Authenticator:
    """Admits requests.

    Args:
        ring: the keys.
        rate_limiter: limits the rate of each key.
        registry: of the service's metrics.
        clock: the time.
    """

    def __init__(
        self, ring: ApiKeyring, rate_limiter: RateLimiter, registry: CollectorRegistry, clock: Clock
    ) -> None:
        self.ring = ring
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._signed = SignedRequests(registry)

    async def by_key(self, authorization: str | None, caller: Request, scope: Scope | None) -> Key:
        """The key of an ``Authorization`` header.

        Raises:
            Problem: 401 without a valid key, 403 without the scope, 429 over the key's rate.
        """
        auth: BearerAuth = caller.scope["app"].state.bearer_auth
        secret = bearer_key(authorization)
        key = await self.ring.find_holder(secret) if secret else None
        if key is None:
            raise auth.refusal(authorization, caller)
        return self._allowed(key, scope)

    async def enter(self, request: Request, headers: Mapping[bytes, bytes], scope: Scope) -> AdmittedRequest:
        """Admits a request by its signature or its key, and reads its body.

        Raises:
            Problem: as :meth:`by_key`; 413, the body is too large.
        """
        if signing.SIGNATURE in headers:
            return await self._by_signature(request, headers, scope)
        key = await self.by_key(headers.get(b"authorization", b"").decode("latin-1"), request, scope)
        return AdmittedRequest(key, without_mark(await request.body()))

    async def _by_signature(
        self, request: Request, headers: Mapping[bytes, bytes], scope: Scope
    ) -> AdmittedRequest:
        try:
            claim = signing.claim_of(headers, self._clock.time())
        except BadSignatureError as error:
            raise self._refused(request, str(error)) from None
        found = await self.ring.find_signer(claim.key_id)
        body = await request.body()
        if found is None or not signing.holds(claim, found[1], body):
            raise self._refused(request, "The signature does not match this body and a valid signing key.")
        key = self._allowed(found[0], scope)
        self._signed.count("accepted")
        return AdmittedRequest(
            key, without_mark(body), SingleUse(SIGNATURES, f"{claim.key_id}:{claim.signature}")
        )

    def _refused(self, caller: Request, detail: str) -> Problem:
        auth: BearerAuth = caller.scope["app"].state.bearer_auth
        self._signed.count("refused")
        return auth.rejection(caller, detail)

    def replayed(self) -> Problem:
        """The answer to a signature that was used before."""
        self._signed.count("replayed")
        return Problem(
            409,
            "Replayed",
            "This signature was used before. To retry, sign with the current time: the same "
            "Idempotency-Key gets the first answer.",
        )

    def admit_product(self, name: str) -> Key:
        """A key for a product that proved itself by its own signature; it may post events.

        Raises:
            Problem: 429, the product is over the rate.
        """
        self._rate_limiter.admit(name, None)
        return keys.of_product(name)

    def _allowed(self, key: Key, scope: Scope | None) -> Key:
        if scope is not None and scope not in key.scopes:
            raise missing(scope)
        self._rate_limiter.admit(key.name, key.per_second)
        self.ring.used(key)
        return key


def missing(scope: Scope) -> Problem:
    return Problem(403, "Missing scope", f"This key has no scope {scope.value}.", scope=scope.value)
