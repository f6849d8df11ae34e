"""The routes of webhooks, which Alertmanager posts."""

from fastapi import APIRouter, Request
from opentelemetry import trace

from services.alert_relay.clusters.configuration import ClusterName
from services.alert_relay.state import InjectedState
from services.contracts.alertmanager import AlertSent, Webhook
from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.kit.web.auth import BearerAuth
from services.kit.web.credentials import with_bearer

router = APIRouter()

WEBHOOKS = "/webhook/"


async def admission(request: Request) -> None:
    """FastAPI dependency: any key of the keyring; for webhooks also as the password of HTTP Basic.

    Other routes do not take it: a browser sends a password by itself, also for the page of another website.
    """
    header = request.headers.get("authorization")
    if request.url.path.startswith(WEBHOOKS):
        header = with_bearer(dict(request.headers.raw)).get(b"authorization", b"").decode("latin-1")
    auth: BearerAuth = request.app.state.bearer_auth
    auth.authenticate(header, request)


_NOT_STORED = {
    "description": "The webhook may not be stored; send it again. An overload has this status too, never 429."
}


@router.post("/webhook/alert", tags=["alertmanager"], responses={503: _NOT_STORED})
async def receive(webhook: Webhook, request: Request, service: InjectedState) -> AlertSent:
    """Stores an Alertmanager webhook, version 4, and answers once it is on disk."""
    received_at = await service.relay.receive(webhook, _text(await request.body()), _parent(request))
    return AlertSent(timestamp=rfc3339(received_at))


@router.post("/webhook/alert/{cluster}", tags=["alertmanager"], responses={503: _NOT_STORED})
async def receive_of_cluster(
    cluster: ClusterName,
    webhook: Webhook,
    request: Request,
    service: InjectedState,
) -> AlertSent:
    """Stores a webhook of a cluster whose external URL does not tell it from another one."""
    body = _text(await request.body())
    received_at = await service.relay.receive(webhook, body, _parent(request), cluster)
    return AlertSent(timestamp=rfc3339(received_at))


def _text(body: bytes) -> str:
    """Returns the body as text that both databases can store."""
    return body.decode("utf-8-sig", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _parent(request: Request) -> TraceContext | None:
    """Returns the span of this request, or the caller's span if this service exports no spans."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return TraceContext(span.trace_id, span.span_id, span.trace_flags.sampled)
    return TraceContext.parse(request.headers.get("traceparent"))
