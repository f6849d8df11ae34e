"""What the bridge reads from its environment."""

import hashlib
import hmac
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from services.bridge.webhooks import signing
from services.kit.settings import CommaInts
from services.outbox.settings import TelegramSettings


class BridgeSettings(TelegramSettings):
    port: int = Field(8080, validation_alias="BRIDGE_PORT", ge=0, le=65535, description="port of the bridge")
    dashboard_url: str = Field("http://127.0.0.1:8082", description="where /dashboard/ leads to")
    jaeger_ui_url: str = Field("", description="Jaeger as a browser reaches it, for links to traces")
    templates_dir: Path | None = Field(
        None, description="folder of templates, <event type>.txt or default.txt; unset: our own wording"
    )
    retention_days: float = Field(
        30.0, ge=0, description="days that finished messages stay in the database; 0: for ever"
    )
    stream_heartbeat_seconds: float = Field(
        15.0, gt=0, description="a stream that has nothing to tell says so this often"
    )
    rate_limit_per_second: float = Field(
        1_000.0, ge=0, description="requests a second of one key, on average, each replica; 0: no limit"
    )
    signing_master: SecretStr | None = Field(
        None, description="derives the secrets of signing keys; unset: made once, in DATA_DIR/signing_master"
    )
    events_dir: Path | None = Field(
        None, description="folder whose *.json files are taken as events; unset: none is"
    )
    routes_file: Path | None = Field(
        None, description="TOML with a [[route]] a rule; unset: the routes of PUT /api/v1/routes"
    )
    telegram_allowed_users: CommaInts = Field(
        (), description="ids of people who may decide and command; unset: those of TELEGRAM_CHAT_IDS"
    )
    telegram_webhook_url: str = Field(
        "", description="where Telegram reaches /telegram/webhook over HTTPS; unset: updates are polled"
    )
    telegram_webhook_secret: SecretStr = Field(
        SecretStr(""), description="secret token of that webhook; unset: derived from the bot's token"
    )
    approval_expires_seconds: float = Field(
        86_400.0, ge=5, le=2_592_000, description="life of a question that names none"
    )
    status_webhook_url: str = Field("", description="told how every message ends; unset: nobody is")
    webhook_signing_secret: SecretStr = Field(
        SecretStr(""), description="whsec_…, signs results; unset: made once, in DATA_DIR/webhook_secret"
    )
    webhook_allow_private: bool = Field(
        default=False, description="whether results may go to addresses of private networks"
    )
    webhook_timeout_seconds: float = Field(15.0, gt=0, le=120, description="for one webhook call")

    @field_validator("webhook_signing_secret")
    @classmethod
    def _key(cls, secret: SecretStr) -> SecretStr:
        if secret.get_secret_value():
            signing.key_of(secret.get_secret_value())
        return secret

    @property
    def allowed_users(self) -> frozenset[int]:
        """A private chat has the id of its person: who gets the events may answer them."""
        return frozenset(
            self.telegram_allowed_users or (chat_id for chat_id in self.default_chats if chat_id > 0)
        )

    @property
    def update_secret(self) -> str:
        """Of Telegram's webhook: the same in every replica, and of no use elsewhere."""
        token = self.telegram_bot_token.get_secret_value().encode()
        derived = hmac.new(token, b"cctelegram webhook", hashlib.sha256).hexdigest()
        return self.telegram_webhook_secret.get_secret_value() or derived
