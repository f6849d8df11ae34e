"""What the relay reads from its environment."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from services.kit.settings import CommaInts, CommaStrings, ServiceSettings


class AlertRelaySettings(ServiceSettings):
    port: int = Field(
        8081, ge=0, le=65535, validation_alias="ALERT_RELAY_PORT", description="port of alert-relay"
    )
    # A group of thousands of alerts is one webhook, and what is refused for its size is lost.
    max_body_bytes: int = Field(16_777_216, ge=1024, description="largest request body taken, bytes")
    database_url: str | None = Field(
        None,
        description="sqlite:///path or postgresql://…; unset: DATA_DIR/alert_relay.db",
    )
    telegram_bot_token: SecretStr = Field(
        SecretStr("1000000001:sandbox-token-for-local-use-only"),
        description="from BotFather; unset: the sandbox's",
    )
    telegram_api_url: str = Field("http://127.0.0.1:8083", description="Bot API server; default: the sandbox")
    telegram_chat_ids: CommaInts = Field((1001,), description="who is told, comma list of chat ids")
    alert_chat_ids: CommaInts = Field((), description="who is told of alerts; unset: TELEGRAM_CHAT_IDS")
    alertmanager_peers: CommaStrings = Field(
        (), description="external URLs of Alertmanagers that are one cluster, where they differ; comma list"
    )
    watchdog_max_age_seconds: float = Field(
        300.0, gt=0, description="the Watchdog alert must come again within this"
    )

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        if not self.recipients:
            raise ValueError("ALERT_CHAT_IDS: name at least one chat, or nobody is told of alerts")
        return self

    @property
    def recipients(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.alert_chat_ids or self.telegram_chat_ids))

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'alert_relay.db'}"

    def cluster_of(self, external_url: str) -> str:
        """The cluster that an Alertmanager belongs to: peers go by the name of the first."""
        url = external_url.rstrip("/")
        peers = [peer.rstrip("/") for peer in self.alertmanager_peers]
        return peers[0] if url in peers else url
