"""The routes: each reads its request to an event, and stores it."""

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.bridge.state import State
from services.bridge.ways_in import openapi, send
from services.bridge.ways_in.admission import admit, store
from services.bridge.ways_in.draft import decoded, fault
from services.kit.errors import Problem

router = APIRouter(tags=["ways in"])


@router.post("/send", **openapi.SENDING)
async def send_text(request: Request, state: State) -> Response:
    """`curl -d "Backup done" URL/send`. Without a title, the first line of the text is the title.

    A form with one of the fields `title`, `message`, `text`, `body` or `description` is read as a form, and a
    JSON object like one; any other body is the text. Every field of an event but `data` can be in the query
    too; `chat` is `chat_id`, `topic` is `source`. A text has up to 20,000 characters: above 2,000 it is shown
    as results, above 5,000 as a block.
    """
    admitted = await admit(request, state)
    form, text = await _body(request, admitted.body)
    query = request.query_params.multi_items()
    draft = send.read(query, form, text)
    stored = await store(state, admitted.caller, draft, [query, form, text])
    return stored.response()


@router.get("/send", include_in_schema=False)
async def how_to_send() -> Response:
    """ErrorText what a GET should have been."""
    text = 'Send the text with POST: curl -d "Backup done" -H "Authorization: Bearer KEY" URL/send'
    raise Problem(405, "Method Not Allowed", text, headers={"Allow": "POST"})


async def _body(request: Request, body: bytes) -> tuple[send.Pairs | None, str]:
    """The fields of a body, and its text; one of them is empty."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    match kind.strip().lower():
        case "application/json":
            return send.object_of(body), ""
        case "multipart/form-data":
            return await _multipart(request), ""
        case "application/x-www-form-urlencoded":
            form = send.form_of(body)
            return form, "" if form is not None else decoded(body)
        case _:
            return None, decoded(body, _charset(parameters))


def _charset(parameters: str) -> str:
    named = [part.partition("=") for part in parameters.split(";")]
    return next((value.strip(' "') for name, _, value in named if name.strip().lower() == "charset"), "utf-8")


async def _multipart(request: Request) -> send.Pairs:
    pairs: list[tuple[str, str]] = []
    try:
        async with request.form(max_files=1, max_fields=send.MOST_FIELDS) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    raise fault(("body", name), "files are not taken here: send a text")
                pairs.append((name, value))
    except HTTPException as error:
        raise Problem(400, "Bad Request", str(error.detail)) from None
    return pairs
