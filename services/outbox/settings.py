"""Settings of the database, the bot and its rates, for services that use the engine."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from services.contracts.fields import TOKEN_FORM
from services.kit.settings import CommaInts, ServiceSettings
from services.outbox.delivery.retry_policy import Policy, TopicGone
from services.outbox.engine import EngineSettings
from services.outbox.rate_limit.limits import Limits
from services.outbox.telegram import proxy
from services.outbox.telegram.proxy import Proxy

#: The token where none is set; it is valid for the sandbox only.
SANDBOX_TOKEN = "1000000001:sandbox-token-for-local-use-only"  # noqa: S105 - of the sandbox; no secret
SANDBOX_CHAT = 1001
TELEGRAM_URL = "https://api.telegram.org"


def _proxy_url(url: SecretStr) -> SecretStr:
    if url.get_secret_value():
        proxy.parse(url.get_secret_value())
    return url


WRONG_FORM = "this is no token of a bot; copy it from @BotFather, it looks like 123456789:AAE5x…"


def _token(token: SecretStr) -> SecretStr:
    if not TOKEN_FORM.fullmatch(token.get_secret_value()):
        raise ValueError(WRONG_FORM)
    return token


def _optional_token(token: SecretStr) -> SecretStr:
    return _token(token) if token.get_secret_value() else token


OptionalToken = Annotated[SecretStr, AfterValidator(_optional_token)]
BotToken = Annotated[SecretStr, AfterValidator(_token)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]


class TelegramSettings(ServiceSettings):
    """The variables; without a token the sandbox replaces Telegram, and its first chat gets the messages."""

    database_url: SecretStr = Field(
        SecretStr(""),
        description="unset: a SQLite file in DATA_DIR; else postgresql://user:password@host/name",
    )
    telegram_bot_token: BotToken = Field(
        SecretStr(SANDBOX_TOKEN), description="from BotFather; unset: the sandbox"
    )
    telegram_api_url: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="Bot API server; unset: Telegram's, or the sandbox's"
    )
    telegram_proxy_url: ProxyUrl = Field(
        SecretStr(""),
        description="proxy for calls to Telegram: http, https or socks5://user:password@host:port",
    )
    sandbox_url: str = Field("http://127.0.0.1:8083", description="where the sandbox is, when it is used")
    telegram_chat_ids: CommaInts = Field(
        (), description="default recipients, with commas; unset: the first chat that writes the printed code"
    )
    telegram_bot_per_second: float = Field(
        30.0, ge=0, description="messages a second of the bot; 0: no limit"
    )
    redis_url: str = Field(
        "", description="shares the bot's rate among replicas and services; unset: each process has all of it"
    )
    telegram_chat_per_second: float = Field(1.0, ge=0, description="messages a second to a chat; 0: no limit")
    telegram_chat_burst: float = Field(3.0, ge=1, description="messages at once to a chat that was quiet")
    telegram_group_per_minute: float = Field(
        20.0, ge=0, description="messages a minute to a group; 0: no limit"
    )
    send_concurrency: int = Field(64, ge=1, le=1000, description="calls to Telegram at once")
    retry_base_seconds: float = Field(1.0, gt=0, description="first wait before a retry; doubled each time")
    retry_cap_seconds: float = Field(60.0, gt=0, description="longest wait between retries")
    give_up_after_seconds: float = Field(86_400.0, gt=0, description="age at which retrying ends")
    max_resends: int = Field(5, ge=0, description="repetitions of a message that may have arrived")
    topic_gone: TopicGone = Field(
        TopicGone.FAIL, description="a message whose topic is gone: fail, or general (sent without the topic)"
    )

    @property
    def uses_sandbox(self) -> bool:
        return self.telegram_bot_token.get_secret_value() == SANDBOX_TOKEN

    @property
    def api_url(self) -> str:
        return self.telegram_api_url or (self.sandbox_url if self.uses_sandbox else TELEGRAM_URL)

    def proxy_of(self, api_url: str) -> Proxy | None:
        """The proxy for calls to a Bot API server; the built-in sandbox is called directly."""
        url = self.telegram_proxy_url.get_secret_value()
        built_in = self.uses_sandbox and api_url == self.sandbox_url
        return proxy.parse(url) if url and not built_in else None

    @property
    def default_chats(self) -> tuple[int, ...]:
        """The chats of the settings; of the sandbox without any, its first chat."""
        return self.telegram_chat_ids or ((SANDBOX_CHAT,) if self.uses_sandbox else ())

    def database(self, name: str) -> str:
        """The database's URL; ``name`` is that of the file where none is set."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / name}.db"

    def engine(self) -> EngineSettings:
        return EngineSettings(
            concurrency=self.send_concurrency,
            limits=Limits(
                self.telegram_bot_per_second,
                self.telegram_chat_per_second,
                self.telegram_chat_burst,
                self.telegram_group_per_minute,
            ),
            policy=Policy(
                self.retry_base_seconds,
                self.retry_cap_seconds,
                self.give_up_after_seconds,
                self.max_resends,
                self.topic_gone,
            ),
        )
