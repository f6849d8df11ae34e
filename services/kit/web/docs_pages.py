"""The API's documentation in a browser: ``/docs`` (Swagger UI) and ``/redoc``.

FastAPI makes the pages; their scripts and styles are in the package fastapi-offline, so they need no other
website. The policy of a page lets nothing else run: the script inside ``/docs`` has a random number that
changes with each response.
"""

import secrets
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.requests import Request
from starlette.responses import Response

from services.kit.errors import Problem

_TYPES = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"})
_ICON = "favicon.png"
# ReDoc shows its maker's logo from its maker's server, which the policy refuses; the space stays empty.
_LOGO, _NO_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg", b"data:image/svg+xml,<svg/>"


def make_router(title: str) -> APIRouter:
    """Returns the routes of the two pages and of their files.

    Args:
        title: of the service.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def swagger(request: Request) -> HTMLResponse:
        return _with_policy(
            get_swagger_ui_html(
                openapi_url=_path(request, "/openapi.json"),
                title=f"{title}: API",
                swagger_js_url=_path(request, "/docs/files/swagger-ui-bundle.js"),
                swagger_css_url=_path(request, "/docs/files/swagger-ui.css"),
                swagger_favicon_url=_path(request, f"/docs/files/{_ICON}"),
            )
        )

    @router.get("/redoc")
    async def redoc(request: Request) -> HTMLResponse:
        return _with_policy(
            get_redoc_html(
                openapi_url=_path(request, "/openapi.json"),
                title=f"{title}: API",
                redoc_js_url=_path(request, "/docs/files/redoc.standalone.js"),
                redoc_favicon_url=_path(request, f"/docs/files/{_ICON}"),
                with_google_fonts=False,
            )
        )

    @router.get("/docs/files/{name}")
    async def file(name: Annotated[str, Path(max_length=64)]) -> Response:
        if name not in _FILES:
            raise Problem(404, "Not Found", "The documentation has no such file.")
        kind = _TYPES[PurePosixPath(name).suffix]
        return Response(_content(name), media_type=kind, headers={"Cache-Control": "max-age=3600"})

    return router


def _path(request: Request, path: str) -> str:
    return f"{request.scope.get('root_path', '')}{path}"


@cache
def _content(name: str) -> bytes:
    return (files("fastapi_offline") / "static" / name).read_bytes().replace(_LOGO, _NO_LOGO)


def _with_policy(page: HTMLResponse) -> HTMLResponse:
    html, nonce = bytes(page.body).decode(), secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; worker-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    marked = html.replace("<script>", f'<script nonce="{nonce}">')
    return HTMLResponse(marked, headers={"Content-Security-Policy": policy})
