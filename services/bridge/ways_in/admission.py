"""Admits a request by its key, and stores the event that was read from it."""

from dataclasses import dataclass, replace

import orjson
from starlette.requests import Request

from services.bridge import event_intake
from services.bridge.event_intake import StoredRequest
from services.bridge.events.accept import Caller
from services.bridge.state import BridgeState
from services.bridge.ways_in.draft import Draft
from services.contracts.keys import Scope
from services.kit.errors import Problem
from services.kit.web.credentials import with_bearer


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted request: its caller, and its whole body."""

    caller: Caller
    body: bytes


async def admit(request: Request, state: BridgeState, auth: str = "") -> Admitted:
    """Admits a request by its key or signature, and reads its body.

    Args:
        request: to admit.
        state: of the bridge.
        auth: ntfy's query parameter of that name.

    Raises:
        Problem: 401, 403, 409, 413 or 429.
    """
    headers = with_bearer(dict(request.scope["headers"]), auth)
    entry = await state.authenticator.enter(request, headers, Scope.EVENTS_WRITE)
    return Admitted(event_intake.caller_of(headers, entry), entry.body)


async def store(state: BridgeState, caller: Caller, draft: Draft, identity: object) -> StoredRequest:
    """Checks and stores an event; returns once it is on disk.

    Args:
        state: of the bridge.
        caller: of the request.
        draft: the event.
        identity: JSON of what the client sent. A time that is relative to now, such as 30m, makes another
            event of the same request.

    Raises:
        Problem: as of ``POST /events``; errors name the client's own fields.
    """
    body = draft.json()
    named = replace(caller, identity=orjson.dumps(identity, option=orjson.OPT_SORT_KEYS))
    try:
        return await event_intake.store(state, body, named)
    except Problem as problem:
        raise draft.in_client_words(problem) from None
