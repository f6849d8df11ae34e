"""What the relay reads from its environment."""

from pydantic import Field

from services.kit.settings import Address, CommaInts, CommaStrings
from services.outbox.settings import TelegramSettings


class AlertRelaySettings(TelegramSettings):
    port: int = Field(
        8081, ge=0, le=65535, validation_alias="ALERT_RELAY_PORT", description="port of alert-relay"
    )
    # A group of thousands of alerts is one webhook, and what is refused for its size is lost.
    max_body_bytes: int = Field(16_777_216, ge=1024, description="largest request body taken, bytes")
    alert_chat_ids: CommaInts = Field((), description="who is told of alerts; unset: TELEGRAM_CHAT_IDS")
    alertmanager_peers: CommaStrings = Field(
        (), description="external URLs of Alertmanagers that are one cluster, where they differ; with commas"
    )
    alertmanager_url: Address | None = Field(
        None,
        description="Alertmanager; unset: unknown to health, and what its webhooks leave out is not fetched",
    )
    watchdog_max_age_seconds: float = Field(
        300.0, gt=0, description="the Watchdog alert must come again within this"
    )
    alert_retention_days: float = Field(
        90.0, ge=0, description="days that resolved incidents and webhooks are kept; 0: for ever"
    )

    @property
    def recipients(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.alert_chat_ids or self.default_chats))

    def cluster_of(self, external_url: str) -> str:
        """The cluster that an Alertmanager belongs to: peers go by the name of the first."""
        url = external_url.rstrip("/")
        peers = [peer.rstrip("/") for peer in self.alertmanager_peers]
        return peers[0] if url in peers else url
