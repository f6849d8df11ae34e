"""The built page, the login page, and the headers that keep other people's code out of both."""

from html import escape
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.dashboard.login import COOKIE, SESSION_SECONDS, Attempts, Door, same_origin
from services.kit.errors import Problem
from services.kit.settings import StartError
from services.kit.web.auth import address_of

STATIC = Path(__file__).parent / "static"
_NOTICE = "<!--notice-->"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers then send forms with the origin "null", which is not ours.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Names in assets/ carry a hash of what is inside; everything else is asked for anew.
_FOREVER = "public, max-age=31536000, immutable"

router = APIRouter(tags=["pages"], include_in_schema=True)


class Pages:
    """The built files, read once.

    Raises:
        StartError: the page is not built.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.dashboard = (folder / "index.html").read_text(encoding="utf-8")
            self._login = (folder / "login.html").read_text(encoding="utf-8")
        except OSError as error:
            raise StartError(
                f"the dashboard's page is not built: {error.filename}: {error.strerror}"
            ) from error

    def login(self, notice: str = "") -> str:
        shown = f'<p class="notice" role="alert">{escape(notice)}</p>' if notice else ""
        return self._login.replace(_NOTICE, shown)


class SecurityHeaders:
    """Adds the headers to every answer except the API documentation's, whose page is FastAPI's own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/docs", "/redoc")):
            await self.app(scope, receive, send)
            return
        cached = _FOREVER if scope["path"].startswith("/dashboard/assets/") else "no-store"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers["Cache-Control"] = cached if message["status"] < 400 else "no-store"  # noqa: PLR2004 - errors are not kept
            await send(message)

        await self.app(scope, receive, with_headers)


def assets() -> StaticFiles:
    """The page's scripts and styles; nothing in them is secret."""
    return StaticFiles(directory=STATIC / "assets", check_dir=False)


@router.get("/dashboard", include_in_schema=False)
async def without_slash() -> Response:
    return RedirectResponse("/dashboard/", 307)


@router.get("/dashboard/", summary="The live page", response_class=HTMLResponse)
async def dashboard(request: Request) -> Response:
    door: Door = request.state.door
    if not door.admits(request):
        return RedirectResponse("/login", 303)
    pages: Pages = request.state.pages
    return HTMLResponse(pages.dashboard)


@router.get("/login", summary="The login page", response_class=HTMLResponse)
async def login_page(request: Request) -> Response:
    door: Door = request.state.door
    if door.admits(request):
        return RedirectResponse("/dashboard/", 303)
    pages: Pages = request.state.pages
    return HTMLResponse(pages.login())


@router.post("/login", summary="Logs in: a cookie for twelve hours", response_class=HTMLResponse)
async def log_in(
    request: Request,
    username: Annotated[str, Form(max_length=100)],
    password: Annotated[str, Form(max_length=1000)],
) -> Response:
    _require_same_origin(request)
    pages: Pages = request.state.pages
    attempts: Attempts = request.state.attempts
    try:
        opened = await attempts.log_in(address_of(request), username, password)
    except Problem as problem:
        minutes = -(-int(problem.headers["Retry-After"]) // 60)
        notice = f"Too many failed logins from this address. Try again in {minutes} min."
        return HTMLResponse(pages.login(notice), problem.status, problem.headers)
    if opened is None:
        return HTMLResponse(pages.login("That name or password is not right."), 401)
    cookie, _ = opened
    response = RedirectResponse("/dashboard/", 303)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        # Behind a proxy that ends TLS only the browser knows; same_origin() held this against our host.
        secure=request.headers.get("origin", str(request.url)).startswith("https:"),
    )
    return response


@router.post("/logout", summary="Ends the session")
async def log_out(request: Request) -> Response:
    _require_same_origin(request)
    door: Door = request.state.door
    session = door.session(request.cookies.get(COOKIE))
    if session is not None:
        door.close_session(session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _require_same_origin(request: Request) -> None:
    if not same_origin(request):
        raise Problem(403, "Forbidden", "This came from another site's page.")
