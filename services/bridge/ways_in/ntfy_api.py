"""ntfy's publish routes. They are the app's last: every other route comes before a topic."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from services.bridge.state import BridgeState, State
from services.bridge.ways_in import ntfy, ntfy_fields, openapi, topics
from services.bridge.ways_in.admission import admit, store
from services.bridge.ways_in.draft import fault
from services.kit.errors import Problem
from services.kit.web.fast_route import FastResponse

router = APIRouter(tags=["ways in"])

Topic = Annotated[str, Path(**openapi.TOPIC)]


@router.post("/", **openapi.publishing("Publish ntfy's JSON form", openapi.JSON_BODY))
@router.put("/", **openapi.publishing("Publish ntfy's JSON form", openapi.JSON_BODY))
async def publish_json(request: Request, state: State) -> Response:
    """The topic is a field of the body."""
    return await _published(request, state, None)


@router.post("/{topic}", **openapi.publishing("Publish to a topic, as ntfy does", openapi.TEXT_BODY))
@router.put("/{topic}", **openapi.publishing("Publish to a topic, as ntfy does", openapi.TEXT_BODY))
async def publish(request: Request, state: State, topic: Topic) -> Response:
    """The topic is the source of the event, so routes match it.

    Headers have ntfy's aliases; each is a query parameter too. The first path segments of other routes are
    no topics.
    """
    if not topics.is_topic(topic, request.app):
        raise topics.elsewhere(request, topic)
    return await _published(request, state, topic)


@router.api_route("/{topic}", methods=["GET", "DELETE", "PATCH", "OPTIONS", "TRACE"], include_in_schema=False)
async def nothing_to_read(request: Request, topic: str) -> Response:
    """Answers as if there were no topics, or says how to publish."""
    raise topics.elsewhere(request, topic)


async def _published(request: Request, state: BridgeState, topic: str | None) -> Response:
    try:
        admitted = await admit(request, state, request.query_params.get("auth", ""))
        fields = ntfy_fields.of_request(request.scope["headers"], request.query_params.multi_items())
        body = admitted.body
        if topic is None:
            topic, written = ntfy_fields.of_json(body)
            # Apprise sends some fields in the body and the others as headers.
            fields, body = {**fields, **written}, b""
            if not topics.is_topic(topic, request.app):
                raise fault(("body", "topic"), "this name is reserved: it is a path of the bridge")
        publication = ntfy.read(topic, fields, body, state.clock.time())
        stored = await store(state, admitted.caller, publication.draft, publication.identity)
    except Problem as problem:
        raise ntfy.as_ntfy_says(problem) from None
    # ntfy's clients take nothing but 200.
    return FastResponse(ntfy.answer(publication, stored.answer), 200, stored.headers)
