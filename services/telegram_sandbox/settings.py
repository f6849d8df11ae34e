"""The sandbox's environment variables."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from services.kit.settings import CommaStrings, ServiceSettings
from services.telegram_sandbox.flood_control import Limits
from services.telegram_sandbox.state.bots import TOKEN_SHAPE

DEFAULT_TOKEN = "1000000001:sandbox-token-for-local-use-only"  # noqa: S105 # it gives access to this sandbox only


class SandboxSettings(ServiceSettings):
    """Settings of the sandbox. Telegram's limits apply unless they are switched off here."""

    host: str = Field(
        "127.0.0.1",
        validation_alias="SANDBOX_HOST",
        description="address that the sandbox listens on; it has no login",
    )
    port: int = Field(
        8083, ge=0, le=65535, validation_alias="SANDBOX_PORT", description="port of the sandbox"
    )
    telegram_bot_token: SecretStr = Field(
        SecretStr(DEFAULT_TOKEN), description="bot token that the sandbox accepts, the same as the bridge's"
    )
    sandbox_tokens: CommaStrings = Field((), description="further bot tokens that the sandbox accepts")
    sandbox_log_file: Path | None = Field(
        None, description="file of the event log; unset: DATA_DIR/telegram_sandbox/log.jsonl"
    )
    sandbox_log_max_bytes: int = Field(
        64 << 20, ge=0, description="size in bytes above which the event log is renamed to .1 at startup"
    )
    sandbox_log_kept: int = Field(200_000, ge=1_000, description="entries of the event log in memory")
    sandbox_messages_kept: int = Field(10_000, ge=10, description="messages stored in each chat")
    sandbox_files_max_bytes: int = Field(
        512 << 20, ge=1 << 20, description="total size of stored documents, bytes"
    )
    sandbox_limits: bool = Field(default=True, description="whether Telegram's flood control applies")
    sandbox_chat_per_second: float = Field(1.0, gt=0, description="messages a second in one chat")
    sandbox_chat_burst: int = Field(3, ge=1, description="burst of messages in one chat")
    sandbox_group_per_minute: int = Field(20, ge=1, description="messages a minute in one group")
    sandbox_bot_per_second: int = Field(30, ge=1, description="messages a second of one bot")
    sandbox_paid_per_second: int = Field(
        1_000, ge=1, description="paid messages a second of one bot, above its free rate"
    )
    sandbox_hold_seconds: float = Field(
        8.0, ge=0, description="how long the server holds a request before it answers 429"
    )

    @field_validator("telegram_bot_token")
    @classmethod
    def _one_token(cls, token: SecretStr) -> SecretStr:
        _check(token.get_secret_value())
        return token

    @field_validator("sandbox_tokens")
    @classmethod
    def _every_token(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        for token in tokens:
            _check(token)
        return tokens

    @property
    def tokens(self) -> tuple[str, ...]:
        return (self.telegram_bot_token.get_secret_value(), *self.sandbox_tokens)

    @property
    def limits(self) -> Limits:
        return Limits(
            enabled=self.sandbox_limits,
            chat_per_second=self.sandbox_chat_per_second,
            chat_burst=self.sandbox_chat_burst,
            group_per_minute=self.sandbox_group_per_minute,
            bot_per_second=self.sandbox_bot_per_second,
            paid_per_second=self.sandbox_paid_per_second,
            hold_seconds=self.sandbox_hold_seconds,
        )

    @property
    def folder(self) -> Path:
        return self.data_dir / "telegram_sandbox"

    @property
    def log_file(self) -> Path:
        return self.sandbox_log_file or self.folder / "log.jsonl"


def _check(token: str) -> None:
    if not TOKEN_SHAPE.fullmatch(token):
        raise ValueError("a bot token is <number>:<letters, digits, _ or ->")
