"""The built page and login page, and what browsers may keep of them."""

from html import escape
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.settings import StartError

STATIC = Path(__file__).parent / "static"
_NOTICE = "<!--notice-->"
# File names in assets/ contain a hash of the content, so browsers may cache them without a limit.
_CACHE_FOREVER = "public, max-age=31536000, immutable"


class PageFiles:
    """The built HTML files, read once.

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
        """Returns the login page, with a notice if there is one."""
        shown = f'<p class="notice" role="alert">{escape(notice)}</p>' if notice else ""
        return self._login.replace(_NOTICE, shown)


def assets() -> StaticFiles:
    """Returns the page's scripts and styles; they contain no secret and need no login."""
    return StaticFiles(directory=STATIC / "assets", check_dir=False)


class CacheControl:
    """Lets browsers keep the assets, and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        cached = _CACHE_FOREVER if scope["path"].startswith("/dashboard/assets/") else "no-store"

        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = cached if message["status"] < 400 else "no-store"  # noqa: PLR2004 - errors must not be cached
            await send(message)

        await self.app(scope, receive, with_header)
