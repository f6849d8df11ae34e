"""The settings of the bridge, read from the environment."""

import hashlib
import hmac
import re
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.bridge import bots
from services.bridge.bots import Bot, BotDocument
from services.contracts.events import LONGEST_DEDUP_SECONDS
from services.kit.settings import ApiKey, CommaInts, CommaNetworks
from services.kit.web import webhook_signatures
from services.outbox.files.limits import LARGEST_FILE
from services.outbox.settings import TELEGRAM_URL, TelegramSettings


class BridgeSettings(TelegramSettings):
    port: int = Field(8080, validation_alias="BRIDGE_PORT", ge=0, le=65535, description="port of the bridge")
    telegram_bots: SecretStr = Field(
        SecretStr(""), description="further bots, TOML or JSON with one table per bot name; unset: one bot"
    )
    telegram_paid_broadcast: bool = Field(
        default=False, description="whether low-priority messages may exceed the free rate, at 0.1 Star each"
    )
    telegram_paid_per_second: float = Field(
        1_000.0, gt=0, description="messages a second of a paying bot, including the free ones"
    )
    dashboard_url: str = Field("http://127.0.0.1:8082", description="URL that /dashboard/ redirects to")
    jaeger_ui_url: str = Field(
        "", description="URL of Jaeger for browsers; unset: there are no links to traces"
    )
    templates_dir: Path | None = Field(
        None, description="folder of templates, <event type>.txt or default.txt; unset: the built-in texts"
    )
    hooks_dir: Path | None = Field(
        None, description="folder of mappings of webhooks, <source>.json.j2; unset: there are none"
    )
    hook_secret_github: ApiKey | None = Field(
        None, description="secret of GitHub's webhooks; unset: they need the key"
    )
    hook_secret_gitlab: ApiKey | None = Field(
        None, description="secret token of GitLab's webhooks; unset: they need the key"
    )
    hook_secret_grafana: ApiKey | None = Field(
        None, description="secret of Grafana's webhooks; unset: they need the key"
    )
    hook_secret_sentry: ApiKey | None = Field(
        None, description="client secret of Sentry's integration; unset: its webhooks need the key"
    )
    retention_days: float = Field(
        30.0, ge=0, description="days that finished messages stay in the database; 0: forever"
    )
    stream_heartbeat_seconds: float = Field(
        15.0, gt=0, description="seconds between heartbeats of an idle stream"
    )
    rate_limit_per_second: float = Field(
        1_000.0, ge=0, description="requests a second of one key on average, in each replica; 0: no limit"
    )
    signing_master: SecretStr | None = Field(
        None,
        description="secret that signing keys are derived from; unset: created in DATA_DIR/signing_master",
    )
    events_dir: Path | None = Field(
        None, description="folder whose *.json files are taken as events; unset: no folder"
    )
    smtp_port: int = Field(
        0, ge=0, le=65535, description="port that mails are taken at by SMTP, on HOST; 0: none"
    )
    smtp_allowed_networks: CommaNetworks = Field(
        ("127.0.0.0/8", "::1"),
        description="addresses and networks that may send mails; unset: this machine; *: all",
    )
    smtp_require_key: bool = Field(
        default=False, description="whether mails need a login whose password is an API key"
    )
    smtp_max_bytes: int = Field(
        26_214_400, ge=1024, le=104_857_600, description="largest mail with its attachments, bytes"
    )
    routes_file: Path | None = Field(
        None, description="TOML file with one [[route]] per rule; unset: the routes of PUT /api/v1/routes"
    )
    telegram_allowed_users: CommaInts = Field(
        (), description="IDs of people who may decide and send commands; unset: those of TELEGRAM_CHAT_IDS"
    )
    telegram_webhook_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="public HTTPS URL of /telegram/webhook, on port 443, 80, 88 or 8443; unset: polling",
    )
    telegram_webhook_secret: SecretStr = Field(
        SecretStr(""), description="secret token of that webhook; unset: derived from the bot's token"
    )
    dedup_window_seconds: float = Field(
        600.0,
        ge=1,
        le=LONGEST_DEDUP_SECONDS,
        description="seconds in which repeats of a dedup_key are counted, if the event does not say",
    )
    approval_expires_seconds: float = Field(
        86_400.0, ge=5, le=2_592_000, description="seconds until an approval expires that sets no time"
    )
    status_webhook_url: str = Field(
        "", description="URL that is called with the final state of every message; unset: none"
    )
    webhook_signing_secret: SecretStr = Field(
        SecretStr(""),
        description="whsec_…, signs webhooks; two, separated by a space, while it is rotated;"
        " unset: created in DATA_DIR/webhook_secret",
    )
    webhook_allow_private: bool = Field(
        default=False, description="whether webhooks may go to addresses of private networks"
    )
    max_file_bytes: int = Field(
        LARGEST_FILE,
        ge=1024,
        le=LARGEST_FILE,
        description="largest file of an event, bytes; Telegram takes 50 MB",
    )
    files_max_total_bytes: int = Field(
        10 << 30, ge=1 << 20, description="largest size of all stored files together, bytes"
    )
    webhook_timeout_seconds: float = Field(15.0, gt=0, le=120, description="seconds for one webhook call")

    @field_validator("webhook_signing_secret")
    @classmethod
    def _key(cls, secret: SecretStr) -> SecretStr:
        webhook_signatures.check(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _bots(self) -> Self:
        try:
            found = self.bots()
        except ValueError as error:
            raise ValueError(f"TELEGRAM_BOTS: {error}") from None
        if len(found) > 1 and self.uses_sandbox and not self.telegram_api_url:
            text = "TELEGRAM_BOT_TOKEN: set it too, it is the bot of events that name none of TELEGRAM_BOTS"
            raise ValueError(text)
        return self

    @field_validator("telegram_webhook_secret")
    @classmethod
    def _secret_token(cls, secret: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", secret.get_secret_value()):
            raise ValueError("1 to 256 letters, digits, _ and -, which is what Telegram takes")
        return secret

    @model_validator(mode="after")
    def _webhooks(self) -> Self:
        """Telegram itself refuses other webhooks; a Bot API server of one's own takes any."""
        for bot in self.bots().values():
            if bot.webhook_url and bot.api_url == TELEGRAM_URL and not bots.telegram_takes(bot.webhook_url):
                raise ValueError(
                    "TELEGRAM_WEBHOOK_URL: Telegram takes https on port 443, 80, 88 or 8443 only"
                )
        return self

    @property
    def allowed_users(self) -> frozenset[int]:
        return self._allowed((), self.default_chats)

    def bots(self) -> dict[str, Bot]:
        """All bots by name, the default one first.

        Raises:
            ValueError: TELEGRAM_BOTS is invalid; one line for each fault.
        """
        token = self.telegram_bot_token.get_secret_value()
        paid = self.telegram_paid_per_second if self.telegram_paid_broadcast else 0.0
        default = Bot(
            name=bots.DEFAULT,
            token=token,
            api_url=self.api_url,
            chats=self.default_chats,
            allowed=self.allowed_users,
            limits=self.engine().limits,
            paid_per_second=paid,
            webhook_url=self.telegram_webhook_url,
            webhook_secret=self._webhook_secret(token),
        )
        written = bots.read(self.telegram_bots.get_secret_value())
        found = {bots.DEFAULT: default} | {name: self._bot(name, one) for name, one in written.items()}
        bots.check_tokens(found)
        return found

    def _bot(self, name: str, written: BotDocument) -> Bot:
        try:
            token = written.secret()
        except ValueError as error:
            raise ValueError(f"{name}.token_file: {error}") from None
        chats = written.chat_ids or self.default_chats
        pays = self.telegram_paid_broadcast if written.paid_broadcast is None else written.paid_broadcast
        url = self.telegram_webhook_url
        return Bot(
            name=name,
            token=token,
            api_url=written.api_url or self.api_url,
            chats=chats,
            allowed=self._allowed(written.allowed_users, chats),
            limits=bots.limits(written, self.engine().limits),
            paid_per_second=(written.paid_per_second or self.telegram_paid_per_second) if pays else 0.0,
            webhook_url=f"{url.rstrip('/')}/{name}" if url else "",
            webhook_secret=self._webhook_secret(token),
        )

    def _allowed(self, own: tuple[int, ...], chats: tuple[int, ...]) -> frozenset[int]:
        """The people who may decide; without a list, those whose private chats get the events."""
        named = own or self.telegram_allowed_users
        return frozenset(named or (chat_id for chat_id in chats if chat_id > 0))

    def _webhook_secret(self, token: str) -> str:
        """The secret token of Telegram's webhook: the same in every replica, derived from the bot's token."""
        derived = hmac.new(token.encode(), b"cctelegram webhook", hashlib.sha256).hexdigest()
        return self.telegram_webhook_secret.get_secret_value() or derived
