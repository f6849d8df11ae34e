"""The configured bots.

The default bot is that of TELEGRAM_BOT_TOKEN. Further bots are in TELEGRAM_BOTS: TOML or JSON with one table
per name. A field that a table omits has the default bot's value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, TypeAdapter, ValidationError, model_validator

from services.contracts.fields import TOKEN_FORM, BotName, ChatId, Strict
from services.kit.field_errors import ErrorText, lines
from services.kit.settings import read_tables
from services.outbox.rate_limit.limits import Limits
from services.outbox.settings import WRONG_FORM

#: Name of the bot that sends events which name no bot.
DEFAULT = "default"
MOST_BOTS = 50
HTTPS_PORT = 443
#: Telegram calls webhooks on these ports alone.
WEBHOOK_PORTS = (HTTPS_PORT, 80, 88, 8443)

_Rate = Annotated[float, Field(ge=0)]
_UserId = Annotated[int, Field(strict=True, ge=1, le=2**53)]
_Url = Annotated[
    str,
    StringConstraints(pattern=r"^https?://\S+$", max_length=2_048),
    ErrorText("write a URL that begins with https://"),
]


class BotDocument(Strict):
    """A bot as written in TELEGRAM_BOTS."""

    token: SecretStr | None = None
    token_file: Path | None = None
    api_url: _Url | None = None
    chat_ids: tuple[ChatId, ...] = ()
    allowed_users: tuple[_UserId, ...] = ()
    bot_per_second: _Rate | None = None
    chat_per_second: _Rate | None = None
    chat_burst: Annotated[float, Field(ge=1)] | None = None
    group_per_minute: _Rate | None = None
    paid_broadcast: bool | None = None
    paid_per_second: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_token(self) -> "BotDocument":
        if (self.token is None) == (self.token_file is None):
            raise ValueError("give either token or token_file")
        return self

    def secret(self) -> str:
        """The token, read from ``token_file`` if that is set.

        Raises:
            ValueError: the file cannot be read.
        """
        if self.token_file is None:
            return self.token.get_secret_value().strip() if self.token else ""
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ValueError(f"cannot read {self.token_file}: {why}") from None


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot.

    Args:
        name: in messages, the API and health.
        token: from BotFather.
        api_url: of its Bot API server.
        chats: recipients of events that name this bot and no chat.
        allowed: Telegram IDs of people who may decide and send commands.
        limits: its rates.
        paid_per_second: messages a second including the free ones; 0: the bot does not pay.
        webhook_url: where Telegram sends its updates; empty: updates are polled.
        webhook_secret: secret token that Telegram sends with each update.
    """

    name: str
    token: str = field(repr=False)
    api_url: str
    chats: tuple[int, ...]
    allowed: frozenset[int]
    limits: Limits
    paid_per_second: float = 0.0
    webhook_url: str = ""
    webhook_secret: str = field(default="", repr=False)

    @property
    def paid_beyond(self) -> float:
        """Paid messages a second beyond the free ones; 0: none."""
        free = self.limits.bot_per_second
        return max(0.0, self.paid_per_second - free) if free else 0.0


_documents = TypeAdapter(
    Annotated[dict[BotName, BotDocument], Field(max_length=MOST_BOTS)],
)


def read(text: str) -> dict[str, BotDocument]:
    """The bots of TELEGRAM_BOTS, by name.

    Raises:
        ValueError: it is invalid; one line for each fault names the bot and the field, never a token.
    """
    try:
        found = _documents.validate_python(read_tables(text))
    except ValidationError as error:
        raise ValueError("; ".join(lines(error))) from None
    if DEFAULT in found:
        raise ValueError(f"{DEFAULT}: this name belongs to TELEGRAM_BOT_TOKEN; use another name")
    return found


def telegram_takes(webhook_url: str) -> bool:
    """Whether Telegram itself takes the URL of a webhook."""
    parts = urlsplit(webhook_url)
    try:
        port = parts.port or HTTPS_PORT
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and port in WEBHOOK_PORTS


def limits(document: BotDocument, otherwise: Limits) -> Limits:
    """The rates of a bot; an omitted one has the value of ``otherwise``."""

    def chosen(own: float | None, default: float) -> float:
        return default if own is None else own

    return Limits(
        chosen(document.bot_per_second, otherwise.bot_per_second),
        chosen(document.chat_per_second, otherwise.chat_per_second),
        chosen(document.chat_burst, otherwise.chat_burst),
        chosen(document.group_per_minute, otherwise.group_per_minute),
    )


def check_tokens(bots: Mapping[str, Bot]) -> None:
    """Checks that the names are of distinct bots, since two names would take each other's updates.

    Raises:
        ValueError: two names are of the same bot, or one has no token, or something else in its place.
    """
    names: dict[str, str] = {}
    for bot in bots.values():
        if not bot.token:
            raise ValueError(f"{bot.name}: the token is empty")
        if not TOKEN_FORM.fullmatch(bot.token):
            raise ValueError(f"{bot.name}: {WRONG_FORM}")
        # The number before the colon is the bot's; a renewed token has the same one.
        number = bot.token.partition(":")[0]
        if number in names:
            raise ValueError(f"{bot.name}: it is the same bot as {names[number]}")
        names[number] = bot.name
