"""The routes of files: upload, read."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response, StreamingResponse

from services.bridge.files import names
from services.bridge.files.file_headers import saving_headers
from services.bridge.state import State
from services.contracts.fields import AN_ID, Words
from services.contracts.files import Uploaded
from services.kit.errors import Problem
from services.kit.web import multipart
from services.kit.web.body_stream import BodyStream
from services.kit.web.openapi import problems
from services.outbox.files.store import FileStore, StoredFile, too_large

#: What the headers of a form around a file may have, bytes.
FORM_ROOM = 65_536

router = APIRouter(prefix="/api/v1", tags=["files"])
_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "the file itself with any Content-Type, or a form (multipart/form-data) with one file",
    "content": {
        "application/octet-stream": _FILE,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": _FILE["schema"] | {"description": "the file", "examples": ["the bytes of a file"]}
                },
            }
        },
    },
}


@router.post(
    "/files",
    status_code=201,
    summary="Upload a file for `attachments` of an event",
    openapi_extra={"requestBody": _BODY},
    responses=problems(
        {
            400: "the form cannot be read",
            413: "the file is larger than MAX_FILE_BYTES",
            422: "the file is empty",
            507: "all files together have FILES_MAX_TOTAL_BYTES",
        }
    ),
)
async def upload(request: Request, state: State) -> Uploaded:
    """201 is answered once the file is on disk. It is deleted after an hour if no event names it by then.

    The same content is stored once and has one ID. `media_type` follows from the content.
    """
    stream = BodyStream(request)
    try:
        stored, name = await _stored(request, stream, state.files)
    except Problem:
        await stream.drain()
        raise
    return Uploaded(
        id=stored.id, size=stored.size, sha256=stored.sha256, media_type=stored.media_type, filename=name
    )


async def _stored(request: Request, stream: BodyStream, store: FileStore) -> tuple[StoredFile, str | None]:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > store.max_bytes + FORM_ROOM:
        raise too_large(store.max_bytes)
    content_type = request.headers.get("content-type", "")
    if not multipart.is_form(content_type):
        return await store.write(stream.pieces()), None
    found: tuple[StoredFile, str | None] | None = None
    async for part in multipart.Form(content_type, stream.pieces()).parts():
        if found is not None or part.filename is None:
            raise Problem(400, "Bad Request", "The form has one part, which is a file.")
        stored = await store.write(part.content)
        found = stored, names.complete(names.safe(part.filename), stored.media_type)
    if found is None:
        raise Problem(400, "Bad Request", "The form has no file.")
    return found


@router.get(
    "/files/{file_id}",
    summary="Read a file",
    response_class=Response,
    responses={
        200: {"description": "the file", "content": {"*/*": _FILE}},
        **problems({404: "no file has this ID"}),
    },
)
async def read(
    state: State, file_id: Annotated[Words, Path(description="ID of the file", examples=[AN_ID])]
) -> StreamingResponse:
    """A browser saves it instead of showing it: it may be anything that a client uploaded."""
    found = (await state.files.find([file_id])).get(file_id)
    if found is None:
        raise Problem(404, "Not Found", "No file has this ID.")
    name = names.default(found.media_type)
    return StreamingResponse(
        state.files.read(found.id), headers=saving_headers(name, found.size), media_type=found.media_type
    )
