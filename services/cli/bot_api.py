"""The calls to Telegram that `cct setup` makes; every answer is checked for type, size and time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Self, TypeVar

import httpx
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from services.contracts.fields import LARGEST_INT

TELEGRAM_URL = "https://api.telegram.org"
CALL_SECONDS = 20.0
#: Longest answer that is read, bytes; Telegram's are far below.
MOST_BYTES = 4 * 2**20
#: So long Telegram holds a request for updates, seconds.
HOLD_SECONDS = 20
UPDATES = ["message", "channel_post", "my_chat_member"]

T = TypeVar("T")

#: An id of Telegram.
Id = Annotated[int, Field(ge=-LARGEST_INT, le=LARGEST_INT)]
#: A name; a longer one than Telegram allows is cut.
Name = Annotated[str, BeforeValidator(lambda text: text[:256] if isinstance(text, str) else text)]


class Me(BaseModel):
    """The bot itself."""

    id: Id
    username: Name = ""
    first_name: Name = ""


class Chat(BaseModel):
    """A chat, as an update shows it."""

    id: Id
    type: Name
    title: Name = ""
    first_name: Name = ""
    last_name: Name = ""

    @property
    def name(self) -> str:
        """Its title, or the person's name."""
        return self.title or f"{self.first_name} {self.last_name}".strip() or str(self.id)


class Sender(BaseModel):
    """A person, or another bot."""

    id: Id


class Seen(BaseModel):
    """The part of an update that shows a chat."""

    chat: Chat
    sender: Sender | None = Field(None, alias="from")


class Update(BaseModel):
    """An update with a chat, if it is of a kind that has one."""

    update_id: Annotated[int, Field(ge=0, le=LARGEST_INT)]
    message: Seen | None = None
    channel_post: Seen | None = None
    my_chat_member: Seen | None = None

    @property
    def seen(self) -> Seen | None:
        return self.message or self.channel_post or self.my_chat_member


class _Answer(BaseModel):
    ok: bool
    result: Any = None
    description: Name = ""
    error_code: int = 0


class RefusedError(Exception):
    """Telegram refuses a call.

    Args:
        code: its error code, as 401 for a wrong token.
        text: its description.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class UnreachableError(Exception):
    """No answer came, or none that can be used; the text says why and has no token."""


class BotApi:
    """Calls of one bot.

    Args:
        token: of the bot.
        url: of the Bot API server.
        proxy: URL of a proxy; None: the one of the environment, if there is one.

    Raises:
        ValueError: the proxy is none that can be used.
    """

    def __init__(self, token: str, url: str, proxy: str | None = None) -> None:
        self.token = token
        self.proxy = proxy
        self._url = f"{url.rstrip('/')}/bot{token}"
        self._client = httpx.Client(proxy=proxy, timeout=CALL_SECONDS)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def me(self) -> Me:
        """Returns the bot.

        Raises:
            RefusedError: the token is wrong.
            UnreachableError: no usable answer.
        """
        return self._call("getMe", {}, TypeAdapter(Me))

    def updates(self, after: int | None) -> list[Update]:
        """Waits for updates; returns none if none come for :data:`HOLD_SECONDS`.

        Args:
            after: the last update that was read; it and those before it are confirmed.

        Raises:
            RefusedError: another program polls this bot, or a webhook is set (409).
            UnreachableError: no usable answer.
        """
        data: dict[str, Any] = {"timeout": HOLD_SECONDS, "allowed_updates": UPDATES, "limit": 100}
        if after is not None:
            data["offset"] = after + 1
        return self._call("getUpdates", data, TypeAdapter(list[Update]))

    def newest_update(self) -> int | None:
        """Returns the id of the newest update that waits; None if none does.

        Raises:
            RefusedError: another program polls this bot, or a webhook is set (409).
            UnreachableError: no usable answer.
        """
        data = {"timeout": 0, "allowed_updates": UPDATES, "limit": 1, "offset": -1}
        found = self._call("getUpdates", data, TypeAdapter(list[Update]))
        return found[-1].update_id if found else None

    def send(self, chat_id: int, text: str) -> None:
        """Sends a plain text.

        Raises:
            RefusedError: the chat does not take it.
            UnreachableError: no usable answer; it may have arrived.
        """
        self._call("sendMessage", {"chat_id": chat_id, "text": text}, TypeAdapter(dict[str, Any]))

    def _call(self, method: str, data: dict[str, Any], result: TypeAdapter[T]) -> T:
        with self._reported():
            answer = _Answer.model_validate_json(self._answer(method, data))
            if answer.ok:
                return result.validate_python(answer.result)
        raise RefusedError(answer.error_code, answer.description)

    def _answer(self, method: str, data: dict[str, Any]) -> bytes:
        seconds = CALL_SECONDS + data.get("timeout", 0)
        body = b""
        with self._client.stream("POST", f"{self._url}/{method}", json=data, timeout=seconds) as answer:
            for part in answer.iter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise UnreachableError("the answer is too long for one of Telegram's")
        return body

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except ValidationError:
            raise UnreachableError("the answer is none of Telegram's") from None
        except httpx.TimeoutException:
            raise UnreachableError("it took too long") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            text = str(error).replace(self.token, "…") or type(error).__name__
            raise UnreachableError(text) from None
