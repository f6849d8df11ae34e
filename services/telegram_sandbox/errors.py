"""Telegram's error answers: the status, the exact description and the parameters."""

from typing import Any

PREFIXES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


class BotApiError(Exception):
    """An answer with `ok: false`. The server delays it by `delay` seconds."""

    def __init__(
        self, status: int, description: str, *, parameters: dict[str, Any] | None = None, delay: float = 0.0
    ) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters = parameters
        self.delay = delay

    @property
    def retry_after(self) -> int | None:
        return self.parameters.get("retry_after") if self.parameters else None


def bad_request(text: str) -> BotApiError:
    return BotApiError(400, f"{PREFIXES[400]}: {_lowered(text)}")


def forbidden(text: str) -> BotApiError:
    return BotApiError(403, f"{PREFIXES[403]}: {_lowered(text)}")


def conflict(text: str, *, delay: float = 0.0) -> BotApiError:
    return BotApiError(409, f"{PREFIXES[409]}: {text}", delay=delay)


def too_many_requests(retry_after: int, *, delay: float = 0.0) -> BotApiError:
    return BotApiError(
        429,
        f"{PREFIXES[429]}: retry after {retry_after}",
        parameters={"retry_after": retry_after},
        delay=delay,
    )


def migrated(chat_id: int) -> BotApiError:
    return BotApiError(
        400,
        f"{PREFIXES[400]}: group chat was upgraded to a supergroup chat",
        parameters={"migrate_to_chat_id": chat_id},
    )


def _lowered(text: str) -> str:
    """Lowers the first letter, as the Bot API does with TDLib's texts; ALL_CAPS codes stay unchanged."""
    if len(text) > 1 and (text[1] == "_" or text[1].isupper()):
        return text
    return text[:1].lower() + text[1:]
