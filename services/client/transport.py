"""What both clients share at httpx: requests, certificates, errors, and the state of a flow."""

import re
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from services.client.errors import ClientError, ConfigurationError, NoAnswerError, NotReachedError
from services.client.steps import Emit, Head, Iteration, Open, Step

CONNECT_SECONDS = 5.0
#: Calls to this machine go to it directly, whatever proxies the environment names.
DIRECT: dict[str, None] = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))

#: The request did not leave.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


def certificates(urls: Iterable[str]) -> ssl.SSLContext:
    """The certificates to trust; they are not read if no URL needs them, which saves time."""
    if any(url.startswith("https:") for url in urls):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def request(step: Open) -> httpx.Request:
    """The request of a step.

    Raises:
        ConfigurationError: the URL is none.
    """
    timeout = httpx.Timeout(step.read_timeout, connect=CONNECT_SECONDS)
    try:
        return httpx.Request(
            step.method,
            step.url,
            headers=dict(step.headers),
            content=step.body,
            extensions={"timeout": timeout.as_dict()},
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"{_origin(step.url)} is not a URL: {error}") from None


def head(response: httpx.Response) -> Head:
    """Status and headers of a response."""
    return Head(response.status_code, {name.lower(): value for name, value in response.headers.items()})


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns httpx's errors into ours, by what the caller may do."""
    try:
        yield
    except _NOT_SENT as error:
        raise NotReachedError(f"Cannot connect to {_origin(url)}: {_reason(error)}") from error
    except httpx.UnsupportedProtocol as error:
        raise ConfigurationError(
            f"{_origin(url)} is not a URL that starts with http:// or https://"
        ) from error
    except httpx.HTTPError as error:
        raise NoAnswerError(f"No answer from {_origin(url)}: {_reason(error)}") from error


def _origin(url: str) -> str:
    """Scheme, host and port: a path or a password does not belong into a message."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the URL"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


@dataclass(slots=True)
class Progress:
    """How far a flow is: the result or the error of its last step."""

    result: Any = None
    error: ClientError | None = None

    def advance(self, work: Iteration[Any]) -> Step | Emit[Any] | None:
        """The next step; None at the end.

        Raises:
            ClientError: the flow failed.
        """
        result, error = self.result, self.error
        self.result = self.error = None
        try:
            return work.send(result) if error is None else work.throw(error)
        except StopIteration:
            return None
