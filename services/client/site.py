"""Where calls go, with which key, and how failures are retried."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from services.client.call import Call, Service
from services.client.errors import ConfigurationError
from services.client.retries import Retries
from services.client.steps import Open

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """Where calls go, and how.

    Args:
        urls: base URL of each known service, without a slash at the end.
        key: bearer key; None: none is sent.
        timeout: seconds without a byte of an answer.
        retries: of failures.
        clock: seconds, monotonic.
        random: a number from 0 to 1.
    """

    urls: Mapping[Service, str]
    key: str | None = field(repr=False)
    timeout: float
    retries: Retries
    clock: Callable[[], float]
    random: Callable[[], float]

    def open(self, call: Call[T], **headers: str) -> Open:
        """The request of a call.

        Raises:
            ConfigurationError: the service's URL is not known.
        """
        url = self.urls.get(call.service)
        if url is None:
            raise ConfigurationError(
                f"The URL of {call.service} is not known: set CCT_{call.service.upper()}_URL."
            )
        sent = {"Accept": "application/json", "User-Agent": "cctelegram-client"}
        if call.body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {**call.headers, **headers}
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        return Open(call.method, url + call.target, sent, call.body, self.timeout + call.waits)
