"""The API's documentation in a browser: ``/docs`` (Swagger UI) and ``/redoc``.

FastAPI makes the pages; their scripts come from the addresses in them. The policy of a page lets nothing else
run: the script inside ``/docs`` has a random number that changes with each response.
"""

import re
import secrets

from fastapi import APIRouter
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.requests import Request

_ORIGIN = re.compile(r'\b(?:src|href)="(https://[^/"]+)')


def make_router(title: str) -> APIRouter:
    """Returns the routes of the two pages.

    Args:
        title: of the service.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def swagger(request: Request) -> HTMLResponse:
        return _with_policy(get_swagger_ui_html(openapi_url=_document(request), title=f"{title}: API"))

    @router.get("/redoc")
    async def redoc(request: Request) -> HTMLResponse:
        return _with_policy(get_redoc_html(openapi_url=_document(request), title=f"{title}: API"))

    return router


def _document(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/openapi.json"


def _with_policy(page: HTMLResponse) -> HTMLResponse:
    html, nonce = bytes(page.body).decode(), secrets.token_urlsafe(16)
    sources = " ".join(sorted(set(_ORIGIN.findall(html))))
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}' {sources}; style-src 'unsafe-inline' {sources}; "
        f"img-src data: {sources}; font-src {sources}; worker-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    marked = html.replace("<script>", f'<script nonce="{nonce}">')
    return HTMLResponse(marked, headers={"Content-Security-Policy": policy})
