"""Bodies of requests as clients send them: compressed, and JSON that is not named so."""

import re
import zlib

from fastapi import params
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.errors import Problem
from services.kit.web.middleware import BodyTooLargeError
from services.kit.web.origin import same_origin

#: The mark that some programs of Windows write before UTF-8.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_NAMES = frozenset({b"gzip", b"x-gzip"})
_DEFLATE_METHOD, _ZLIB_DIVISOR = 8, 31

#: Types that programs name by default: ``curl -d`` a form, others a text or plain bytes.
UNNAMED = frozenset(
    {"application/x-www-form-urlencoded", "application/octet-stream", "text/plain", "text/json"}
)
_MAY_HAVE_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = (b"content-type", b"application/json")
_JSON_TYPE = re.compile(r"application/(?:[^/]+\+)?json$")


class UnreadableBodyError(Problem, HTTPException):
    """The compressed body is broken. It is an HTTPException too, so that FastAPI passes it on."""

    headers: dict[str, str]

    def __init__(self, detail: str) -> None:
        super().__init__(400, "Bad Request", detail)


def without_mark(body: bytes) -> bytes:
    """The body without a byte order mark."""
    return body.removeprefix(BYTE_ORDER_MARK)


class UnpackedBodies:
    """Unpacks bodies with ``Content-Encoding: gzip`` or ``deflate``, piece by piece.

    The unpacked body has the same limit as any other: a small body that grows without end is refused (413)
    as soon as it is over it. Another encoding is a 415.

    Args:
        app: the next ASGI application.
        max_bytes: the limit of an unpacked body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self._limit = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        coding = _coding(scope) if scope["type"] == "http" else b""
        if not coding:
            await self.app(scope, receive, send)
        elif coding in _GZIP_NAMES or coding == b"deflate":
            headers = [header for header in scope["headers"] if header[0] not in _OF_THE_PACKED_BODY]
            unpacked = _Unpacking(receive, coding, self._limit)
            await self.app({**scope, "headers": headers}, unpacked.receive, send)
        else:
            await _UNKNOWN_CODING.response()(scope, receive, send)


_OF_THE_PACKED_BODY = frozenset({b"content-encoding", b"content-length"})
_UNKNOWN_CODING = Problem(
    415,
    "Unsupported Media Type",
    "Content-Encoding may be gzip or deflate, once; or leave it out.",
    headers={"Accept-Encoding": "gzip, deflate"},
)


def _coding(scope: Scope) -> bytes:
    """The encodings of the body, in lower case; empty if there is none."""
    found = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    return b"" if found.strip().lower() in (b"", b"identity") else found.strip().lower()


class _Unpacking:
    """Unpacks the messages of one request.

    Args:
        receive: of the request.
        coding: gzip or deflate.
        limit: bytes of the unpacked body.
    """

    def __init__(self, receive: Receive, coding: bytes, limit: int) -> None:
        self._receive = receive
        self._is_gzip = coding in _GZIP_NAMES
        self._limit = limit
        self._seen = 0
        self._unpacker = zlib.decompressobj(_GZIP) if self._is_gzip else None
        self._first = b""

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        is_last = not message.get("more_body", False)
        try:
            body = self._unpacked(message.get("body", b""), is_last)
        except zlib.error:
            raise UnreadableBodyError("The compressed body is broken.") from None
        if is_last and not (self._unpacker is not None and self._unpacker.eof):
            raise UnreadableBodyError("The compressed body ends too early.")
        return {**message, "body": body}

    def _unpacked(self, packed: bytes, is_last: bool) -> bytes:
        if self._unpacker is None:
            self._first += packed
            if len(self._first) < 2 and not is_last:  # noqa: PLR2004 - the bytes that name the format
                return b""
            packed = self._first
            self._unpacker = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(packed) else -zlib.MAX_WBITS)
        pieces: list[bytes] = []
        while packed:
            if self._unpacker.eof:
                # A gzip file may have several members.
                if not self._is_gzip:
                    raise zlib.error
                self._unpacker = zlib.decompressobj(_GZIP)
            pieces.append(self._unpacker.decompress(packed, self._limit - self._seen + 1))
            self._seen += len(pieces[-1])
            if self._seen > self._limit:
                raise BodyTooLargeError(self._limit)
            packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        return b"".join(pieces)


def _is_zlib(packed: bytes) -> bool:
    """Whether ``deflate`` is meant as the standard says, with zlib's head; some programs send none."""
    if len(packed) < 2:  # noqa: PLR2004 - the head
        return True
    return packed[0] & 15 == _DEFLATE_METHOD and int.from_bytes(packed[:2]) % _ZLIB_DIVISOR == 0


class JsonBodies:
    """Lets routes with a JSON body read it also without ``Content-Type``, and as ``curl -d`` names it.

    Not for a page of another website: a browser sends a text or a form from any page to any address without
    asking first, but asks before it sends JSON, and no service permits that. So a page of another website
    gets 415, and a route that needs no key is as safe as with JSON alone.

    A type that cannot be JSON is a 415 for everyone.

    Args:
        app: the next ASGI application, inside the FastAPI application whose routes it has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in _MAY_HAVE_BODY and not _is_json(scope):
            connection = HTTPConnection(scope)
            if _reads_json(scope):
                named = connection.headers.get("content-type")
                if (named is None or _media_type(named) in UNNAMED) and same_origin(connection):
                    others = [header for header in scope["headers"] if header[0] != _JSON[0]]
                    scope = {**scope, "headers": [*others, _JSON]}
                elif _has_body(connection):
                    await _NOT_JSON.response()(scope, receive, send)
                    return
        await self.app(scope, receive, send)


_NOT_JSON = Problem(
    415,
    "Unsupported Media Type",
    "The body is JSON: send it with Content-Type: application/json, or without.",
    headers={"Accept": "application/json"},
)


def check_json_type(content_type: str | None) -> None:
    """Refuses a type that is no JSON, in routes that read the body by themselves.

    Args:
        content_type: of the request; None: it has none, and is JSON.

    Raises:
        Problem: 415.
    """
    if content_type is None:
        return
    kind = _media_type(content_type)
    if kind and kind not in UNNAMED and not _JSON_TYPE.match(kind):
        raise Problem(_NOT_JSON.status, _NOT_JSON.title, _NOT_JSON.detail, headers=_NOT_JSON.headers)


def _is_json(scope: Scope) -> bool:
    """Whether the type is JSON, which FastAPI reads: ``application/json`` or ``application/…+json``."""
    return any(
        name == _JSON[0] and _JSON_TYPE.match(_media_type(value.decode("latin-1")))
        for name, value in scope["headers"]
    )


def _media_type(named: str) -> str:
    return named.partition(";")[0].strip().lower()


def _has_body(connection: HTTPConnection) -> bool:
    return "transfer-encoding" in connection.headers or connection.headers.get("content-length", "0") != "0"


def _reads_json(scope: Scope) -> bool:
    """Whether the route of the request has a JSON body."""
    for route in iter_route_contexts(scope["app"].routes):
        path = getattr(route, "path_regex", None)
        if path is None or scope["method"] not in (route.methods or ()) or not path.match(scope["path"]):
            continue
        body = getattr(route, "body_field", None)
        return body is not None and not isinstance(body.field_info, params.Form)
    return False
