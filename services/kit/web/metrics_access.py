"""Who may read what monitoring programs read: ``/metrics``, and the checks and controls of mcp-health.

These pages hold no secret, and are open until a setting closes them. Networks and credentials are two locks:
each that is set must be passed. The suite's own requests pass both.
"""

import base64
import hmac

from fastapi import Request

from services.kit.errors import Problem
from services.kit.settings import ServiceSettings
from services.kit.web.auth import BearerAuth
from services.kit.web.client_address import Networks, client_address
from services.kit.web.internal import InternalRequests
from services.kit.web.openapi import problems

CLOSED = problems(
    {
        401: "METRICS_BEARER_TOKEN or METRICS_BASIC_AUTH is set, and the request has neither nor an API key",
        403: "the client's address is not in METRICS_ALLOWED_NETWORKS",
    }
)


class MetricsAccess:
    """Admits requests for these pages.

    Args:
        settings: of the service.
        auth: a valid API key is accepted instead of the credentials; counts wrong ones.
        internal: knows the requests of the suite itself.
        proxies: whose ``X-Forwarded-For`` is trusted.
    """

    def __init__(
        self, settings: ServiceSettings, auth: BearerAuth, internal: InternalRequests, proxies: Networks
    ) -> None:
        self._auth = auth
        self._internal = internal
        self._proxies = proxies
        self._networks = Networks(settings.metrics_allowed_networks)
        token, basic = settings.metrics_bearer_token, settings.metrics_basic_auth
        #: Scheme in lower case → what follows it in the header.
        self._credentials: dict[str, bytes] = {}
        if token is not None:
            self._credentials["bearer"] = token.get_secret_value().encode()
        if basic is not None:
            self._credentials["basic"] = base64.b64encode(basic.get_secret_value().encode())

    def check(self, request: Request) -> None:
        """Admits a request.

        Raises:
            Problem: 401, 403, or 429 to an address with many failed logins.
        """
        if self._internal.sender(request.scope) is not None:
            return
        if self._networks and client_address(request.scope, self._proxies) not in self._networks:
            raise Problem(403, "Forbidden", "Your address is not in METRICS_ALLOWED_NETWORKS.")
        authorization = request.headers.get("authorization")
        if self._credentials and not self._is_right(authorization) and not self._auth.accepts(authorization):
            raise self._refusal(request)

    def _is_right(self, authorization: str | None) -> bool:
        scheme, _, given = (authorization or "").partition(" ")
        expected = self._credentials.get(scheme.lower())
        return expected is not None and hmac.compare_digest(given.strip().encode(), expected)

    def _refusal(self, request: Request) -> Problem:
        wanted = "METRICS_BASIC_AUTH" if "basic" in self._credentials else "METRICS_BEARER_TOKEN"
        refusal = self._auth.rejection(request, f"Send the credentials of {wanted}, or an API key.")
        if refusal.status == 401 and "basic" in self._credentials:  # noqa: PLR2004 - unauthorized
            refusal.headers["WWW-Authenticate"] = 'Basic realm="metrics", charset="UTF-8"'
        return refusal


async def require_metrics_access(request: Request) -> None:
    """FastAPI dependency of the pages."""
    access: MetricsAccess = request.app.state.metrics_access
    access.check(request)
