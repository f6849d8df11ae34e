"""The page of the chats: its files, the JSON that it reads, and its stream of changes."""

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import Problem
from services.outbox.files import content
from services.telegram_sandbox.control.api import ChatId, Id, Words, check_room, sandbox_of
from services.telegram_sandbox.state import media
from services.telegram_sandbox.state.chats import Chat, Message
from services.telegram_sandbox.state.sandbox import Sandbox

FOLDER = Path(__file__).parent / "static"
FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
DEBOUNCE = 0.15  # seconds: changes within this time are sent as one event
STREAM_PAGE = 5_000  # log entries that one event may summarise
HEARTBEAT = 15.0  # seconds between comments on an idle stream
#: Types of images that cannot contain a program.
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
router = APIRouter(tags=["page"])


class FrontPage:
    """Answers `/` with the page for a browser; other clients get the service's JSON."""

    def __init__(self, service: ASGIApp) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            accept = next((value for key, value in scope["headers"] if key == b"accept"), b"")
            if b"text/html" in accept:
                page = await asyncio.to_thread((FOLDER / "index.html").read_bytes)
                headers = {"Vary": "Accept"} | NO_CACHE
                await Response(page, headers=headers, media_type="text/html")(scope, receive, send)
                return
        await self._service(scope, receive, send)


NO_CACHE = {"Cache-Control": "no-cache"}


@router.get("/page/{name}", summary="The page's style and script", response_class=Response)
async def asset(name: Words) -> Response:
    if name not in FILES:
        raise Problem(404, "Not Found")
    data = await asyncio.to_thread((FOLDER / name).read_bytes)
    return Response(data, headers=NO_CACHE, media_type=FILES[name])


@router.get("/api/chats", summary="Chats, by their latest message")
async def chats(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    q: Annotated[Words, Query(description="part of the title, or the id")] = "",
) -> Response:
    text = q.casefold()
    found = [c for c in sandbox_of(request).chats if text in c.title.casefold() or q == str(c.id)]
    found.sort(key=_last_id, reverse=True)
    return _json({"total": len(found), "chats": [_chat(chat) for chat in found[:limit]]})


@router.get("/api/chats/{chat_id}/messages", summary="A chat's latest messages, oldest first")
async def messages(
    request: Request,
    chat_id: ChatId,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    before: Annotated[Id | None, Query(description="only messages with smaller ids")] = None,
) -> Response:
    chat = sandbox_of(request).chats.get(chat_id)
    if chat is None:
        raise Problem(404, "Not Found", f"there is no chat {chat_id}")
    ids = [number for number in chat.messages if before is None or number < before]
    shown = [_message(chat.messages[number]) for number in ids[-limit:]]
    return _json({"chat": _chat(chat), "messages": shown, "more": len(ids) > limit})


@router.get("/api/files/{path:path}", summary="A file of a message", response_class=Response)
async def download(request: Request, path: Annotated[str, PathParameter(max_length=1_024)]) -> Response:
    files = sandbox_of(request).files
    stored = files.by_path(None, path)
    if stored is None:
        raise Problem(404, "Not Found")
    try:
        data = await asyncio.to_thread(files.read, None, path)
    except FileNotFoundError:
        raise Problem(404, "Not Found") from None
    headers = NO_CACHE | {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(stored.name)}"}
    found = content.content_of(data[: 1 << 20]).media_type
    # An image may be shown in the page; anything else is only saved.
    media_type = found if found in IMAGES else "application/octet-stream"
    return Response(data, headers=headers, media_type=media_type)


@router.get(
    "/api/stream", summary="Which chats changed, as server-sent events", response_class=StreamingResponse
)
async def stream(request: Request) -> StreamingResponse:
    check_room(request)
    stopping: asyncio.Event | None = getattr(request.app.state, "stopping", None)
    return StreamingResponse(
        _changes(sandbox_of(request), stopping),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _changes(sandbox: Sandbox, stopping: asyncio.Event | None) -> Any:
    cursor = sandbox.event_log.seq
    yield b"retry: 1000\n\n"
    while not (stopping and stopping.is_set()):
        if not await _has_changes(sandbox, cursor, stopping):
            yield b": heartbeat\n\n"
            continue
        await asyncio.sleep(DEBOUNCE)
        behind = sandbox.event_log.seq - cursor
        lines = sandbox.event_log.read(cursor, STREAM_PAGE) if behind <= STREAM_PAGE else []
        entries = [orjson.loads(line) for line in lines]
        cursor = sandbox.event_log.seq
        changed = {
            "all": behind > STREAM_PAGE,
            "chats": sorted({entry["chat_id"] for entry in entries if entry.get("chat_id")}),
            "answers": [entry for entry in entries if entry["kind"] == "toast"],
        }
        yield b"event: changed\ndata: " + orjson.dumps(changed) + b"\n\n"


async def _has_changes(sandbox: Sandbox, cursor: int, stopping: asyncio.Event | None) -> bool:
    """Waits for a log entry, the heartbeat, or the end of the service; returns whether there is an entry."""
    waits = [asyncio.create_task(sandbox.event_log.wait(cursor, HEARTBEAT))]
    if stopping is not None:
        waits.append(asyncio.create_task(stopping.wait()))
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
    return waits[0] in done and waits[0].result()


def _last_id(chat: Chat) -> tuple[int, int]:
    last = next(reversed(chat.messages.values()), None)
    return (last.wire["date"], last.id) if last is not None else (0, 0)


def _chat(chat: Chat) -> dict[str, Any]:
    last = next(reversed(chat.messages.values()), None)
    states = ("blocked", "deactivated", "kicked", "deleted")
    state = [name for name in states if getattr(chat, name)]
    if chat.migrated_to is not None:
        state.append("upgraded")
    return {
        "id": chat.id,
        "type": chat.type,
        "title": chat.title,
        "topics": [{"id": number, "name": name} for number, name in chat.topics.items()],
        "state": state,
        "messages": len(chat.messages),
        "last": _message(last) if last is not None else None,
    }


def _message(message: Message) -> dict[str, Any]:
    found = media.file_of(message.wire)
    return {
        "message": message.wire,
        "by_bot": message.bot_id is not None,
        "silent": message.silent,
        "toast": message.toast,
        "reaction": message.reaction,
        "pinned": message.pinned,
        "file": _file(*found) if found is not None else None,
    }


def _file(kind: str, shown: dict[str, Any]) -> dict[str, Any]:
    """A message's file: how it is shown, and where its content is."""
    stored = media.stored_file(kind, shown)
    return {"kind": kind, "name": stored.name, "size": stored.size, "url": f"/api/files/{stored.path}"}


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), media_type="application/json")
