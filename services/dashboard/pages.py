"""The routes of the live page and of the login."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.dashboard.login import COOKIE, SESSION_SECONDS
from services.dashboard.state import InjectedState
from services.kit.errors import Problem
from services.kit.web.client_address import UNKNOWN
from services.kit.web.openapi import problems
from services.kit.web.origin import same_origin

router = APIRouter(tags=["pages"], include_in_schema=True)

Documented = dict[int | str, dict[str, Any]]


def _to(where: str) -> dict[str, Any]:
    location = {"description": "path of the page", "schema": {"type": "string", "examples": ["/login"]}}
    return {"description": f"redirect to {where}", "headers": {"Location": location}}


def _page(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


_FOREIGN = problems({403: "the request comes from another site's page"})
_LOGIN: Documented = {
    303: _to("the live page, with the session's cookie"),
    401: _page("the name or the password is wrong"),
    429: _page("too many failed logins from this address"),
    **_FOREIGN,
}


@router.get("/dashboard", include_in_schema=False)
async def without_slash() -> Response:
    return RedirectResponse("/dashboard/", 307)


@router.get(
    "/dashboard/",
    summary="The live page",
    response_class=HTMLResponse,
    responses={303: _to("the login")},
)
async def dashboard(request: Request, service: InjectedState) -> Response:
    """Returns the page, or redirects to the login."""
    if not service.authenticator.admits(request):
        return RedirectResponse("/login", 303)
    return HTMLResponse(service.page_files.dashboard)


@router.get(
    "/login", summary="The login page", response_class=HTMLResponse, responses={303: _to("the live page")}
)
async def login_page(request: Request, service: InjectedState) -> Response:
    """Returns the login page, or redirects to the live page if there is a session."""
    if service.authenticator.admits(request):
        return RedirectResponse("/dashboard/", 303)
    return HTMLResponse(service.page_files.login())


@router.post(
    "/login",
    status_code=303,
    summary="Log in; sets a cookie for twelve hours",
    response_class=RedirectResponse,
    responses=_LOGIN,
)
async def log_in(
    request: Request,
    service: InjectedState,
    username: Annotated[str, Form(max_length=100)],
    password: Annotated[str, Form(max_length=1000)],
) -> Response:
    """Checks name and password, sets the session cookie, and redirects to the live page."""
    _require_same_origin(request)
    try:
        opened = await service.logins.log_in(_address(request), username, password)
    except Problem as problem:
        notice = f"{problem.detail} Try again in {_duration(int(problem.headers['Retry-After']))}."
        return HTMLResponse(service.page_files.login(notice), problem.status, problem.headers)
    if opened is None:
        return HTMLResponse(service.page_files.login("That name or password is not right."), 401)
    cookie, _ = opened
    response = RedirectResponse("/dashboard/", 303)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        # Behind a proxy that ends TLS only the browser's Origin shows https; same_origin() has checked it.
        secure=request.headers.get("origin", str(request.url)).startswith("https:"),
    )
    return response


@router.post(
    "/logout",
    status_code=303,
    summary="Log out; ends the session",
    response_class=RedirectResponse,
    responses={303: _to("the login"), **_FOREIGN},
)
async def log_out(request: Request, service: InjectedState) -> Response:
    """Revokes the session, deletes its cookie, and redirects to the login."""
    _require_same_origin(request)
    session = service.authenticator.session(request.cookies.get(COOKIE))
    if session is not None:
        await service.authenticator.close_session(session)
        service.hub.drop_ended()
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _address(request: Request) -> str:
    return request.client.host if request.client else UNKNOWN


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{-(-seconds // 60)} min"  # noqa: PLR2004 - a minute


def _require_same_origin(request: Request) -> None:
    if not same_origin(request):
        raise Problem(403, "Forbidden", "This came from another site's page.")
