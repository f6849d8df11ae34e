"""`POST /hooks/{source}`: the webhook of a product, or of the operator's own mapping."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from starlette.responses import Response

from services.bridge import event_intake
from services.bridge.events import accept, addressed
from services.bridge.events import api as templates_api
from services.bridge.keys.authenticate import AdmittedRequest
from services.bridge.settings import BridgeSettings
from services.bridge.state import BridgeState, State
from services.bridge.ways_in.admission import Admitted, admit, store
from services.bridge.ways_in.draft import Draft, fault
from services.bridge.ways_in.hooks import openapi
from services.bridge.ways_in.hooks.openapi import HookPreview
from services.bridge.ways_in.hooks.sources import SOURCES, Source
from services.kit.errors import Problem
from services.kit.web.auth import BearerAuth
from services.kit.web.bodies import check_json_type

router = APIRouter(tags=["ways in"])
keyed = APIRouter(prefix="/api/v1/hooks", tags=["ways in"])

SourceName = Annotated[str, Path(**openapi.SOURCE)]


@router.post("/hooks/{source}", **openapi.TAKING)
async def receive(request: Request, state: State, source: SourceName) -> Response:
    """Needs the product's signature, with its secret in `HOOK_SECRET_…`, or else a key.

    The ID of a delivery is its Idempotency-Key. A kind of event that is not known here is a notification.
    """
    _check_exists(state, source)
    check_json_type(request.headers.get("content-type"))
    admitted = await _admit(request, state, source)
    draft = _read(state, source, admitted.body, request.headers)
    caller = admitted.caller
    found = SOURCES.get(source)
    delivery = request.headers.get(found.delivery, "") if found and found.delivery else ""
    if caller.idempotency_key is None and delivery:
        caller = replace(caller, idempotency_key=f"{source}:{delivery}"[: accept.LONGEST_KEY])
    stored = await store(state, caller, draft, [source, admitted.body.decode("utf-8", "replace")])
    return stored.response()


@keyed.post("/{source}/preview", **openapi.PREVIEWING)
async def preview(request: Request, state: State, source: SourceName) -> HookPreview:
    """With the headers of the product, such as `X-GitHub-Event`. Nothing is stored or sent."""
    _check_exists(state, source)
    check_json_type(request.headers.get("content-type"))
    draft = _read(state, source, await request.body(), request.headers)
    try:
        ((event,), _) = addressed.parse(draft.json())
    except Problem as problem:
        raise draft.in_client_words(problem) from None
    shown = event.model_dump(mode="json", exclude_defaults=True)
    return HookPreview(event=shown, preview=await templates_api.preview(state, event))


def _check_exists(state: BridgeState, source: str) -> None:
    if source not in SOURCES and source not in state.mappings:
        names = ", ".join(SOURCES)
        text = f"There are {names}, and the mappings HOOKS_DIR/NAME.json.j2."
        raise Problem(404, "Not Found", text)


async def _admit(request: Request, state: BridgeState, source: str) -> Admitted:
    found = SOURCES.get(source)
    proof = request.headers.get(found.proof) if found and found.proof else None
    if found is None or proof is None:
        return await admit(request, state)
    secret = secret_of(state.settings, source)
    body = await request.body()
    if not secret or not found.holds(proof, secret.encode(), body, request.headers):
        raise _refused(request, found, source, is_set=bool(secret))
    key = state.authenticator.admit_product(f"hook:{source}")
    headers = dict(request.scope["headers"])
    return Admitted(event_intake.caller_of(headers, AdmittedRequest(key, body)), body)


def _refused(request: Request, found: Source, source: str, *, is_set: bool) -> Problem:
    auth: BearerAuth = request.app.state.bearer_auth
    variable = f"HOOK_SECRET_{source.upper()}"
    text = f"{found.proof} does not match {variable}." if is_set else f"{variable} is not set."
    return auth.rejection(request, text)


def secret_of(settings: BridgeSettings, source: str) -> str:
    """The secret that a product signs with; empty if there is none."""
    secrets = {
        "github": settings.hook_secret_github,
        "gitlab": settings.hook_secret_gitlab,
        "grafana": settings.hook_secret_grafana,
        "sentry": settings.hook_secret_sentry,
    }
    found = secrets.get(source)
    return found.get_secret_value() if found else ""


def _read(state: BridgeState, source: str, body: bytes, headers: Mapping[str, str]) -> Draft:
    found = SOURCES.get(source)
    if found is None:
        shown = {name: value for name, value in headers.items() if name != "authorization"}
        written = state.mappings.read(source, body, shown)
        return Draft({"type": "webhook_received", "source": source, **written}, {})
    try:
        event: dict[str, Any] = found.read(body, headers.get(found.kind, "") if found.kind else "")
    except ValidationError as error:
        raise fault(("body",), str(error.errors()[0]["msg"])) from None
    return Draft({**event, "source": source}, {})
