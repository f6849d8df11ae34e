"""Checks links as TDLib does: an invalid link is dropped without an error."""

import re

WEB = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:(?P<user>[^/?#@]*)@)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.\-_!$,~*'();&+=%\x80-\U0010ffff]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
APP = re.compile(r"(?P<scheme>tg|ton|tonsite):(?://)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
USER = re.compile(r"tg:(?://)?user\?(?:.*&)?id=(?P<id>[0-9]+)(?:[&#].*)?", re.IGNORECASE)
APP_HOST = {
    "tg": re.compile(r"[a-z0-9_-]+", re.IGNORECASE),
    "ton": re.compile(r"[a-z0-9_-]+", re.IGNORECASE),
    "tonsite": re.compile(r"[a-z0-9._-]+", re.IGNORECASE),
}
MAX_PORT = 65_535


def user_id(url: str) -> int | None:
    """Returns the id in a tg://user?id= link; None for other links."""
    found = USER.fullmatch(url.strip())
    return int(found["id"]) or None if found else None


def checked(url: str) -> str | None:
    """Returns the normalized link; None if Telegram drops it."""
    app = APP.fullmatch(url)
    return _app(app) if app else _web(url)


def _app(found: re.Match[str]) -> str | None:
    scheme = found["scheme"].lower()
    host = re.split(r"[/?#]", found["rest"], maxsplit=1)[0]
    if not APP_HOST[scheme].fullmatch(host):
        return None
    rest = found["rest"][len(host) :].replace("/?", "?", 1) or "/"
    return f"{scheme}://{host.lower()}{rest}"


def _web(url: str) -> str | None:
    found = WEB.fullmatch(url)
    if found is None or not ("." in found["host"].strip(".") or found["host"].startswith("[")):
        return None
    port = found["port"]
    if port and not 0 < int(port) <= MAX_PORT:
        return None
    rest = (found["rest"] or "/").replace(" ", "%20")
    if not rest.startswith("/"):
        rest = "/" + rest
    user = f"{found['user']}@" if found["user"] else ""
    scheme, host = (found["scheme"] or "http").lower(), found["host"].lower()
    return f"{scheme}://{user}{host}{':' + port if port else ''}{rest}"
