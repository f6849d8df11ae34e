"""What Telegram says no with: the status, the exact description, the parameters."""

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


class Refusal(Exception):  # noqa: N818 # it is an answer, not a failure
    """An answer with `ok: false`; `pause`: seconds that the server lets the client wait for it."""

    def __init__(
        self, status: int, description: str, *, parameters: dict[str, Any] | None = None, pause: float = 0.0
    ) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters = parameters
        self.pause = pause

    @property
    def retry_after(self) -> int | None:
        return self.parameters.get("retry_after") if self.parameters else None


def bad_request(text: str) -> Refusal:
    return Refusal(400, f"{PREFIXES[400]}: {_lowered(text)}")


def forbidden(text: str) -> Refusal:
    return Refusal(403, f"{PREFIXES[403]}: {_lowered(text)}")


def conflict(text: str, *, pause: float = 0.0) -> Refusal:
    return Refusal(409, f"{PREFIXES[409]}: {text}", pause=pause)


def too_many(retry_after: int, *, pause: float = 0.0) -> Refusal:
    return Refusal(
        429,
        f"{PREFIXES[429]}: retry after {retry_after}",
        parameters={"retry_after": retry_after},
        pause=pause,
    )


def migrated(chat_id: int) -> Refusal:
    return Refusal(
        400,
        f"{PREFIXES[400]}: group chat was upgraded to a supergroup chat",
        parameters={"migrate_to_chat_id": chat_id},
    )


def _lowered(text: str) -> str:
    """TDLib's sentences begin with a capital, the Bot API's do not; ALL_CAPS codes pass through unchanged."""
    if len(text) > 1 and (text[1] == "_" or text[1].isupper()):
        return text
    return text[:1].lower() + text[1:]
