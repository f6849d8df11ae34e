"""The environment variables of alert-relay."""

from pydantic import Field

from services.kit.settings import Address, CommaInts, CommaStrings
from services.outbox.settings import TelegramSettings


class AlertRelaySettings(TelegramSettings):
    port: int = Field(
        8081, ge=0, le=65535, validation_alias="ALERT_RELAY_PORT", description="port of alert-relay"
    )
    # A group of thousands of alerts is one webhook, and Alertmanager drops it if it is refused as too large.
    max_body_bytes: int = Field(16_777_216, ge=1024, description="largest accepted request body, bytes")
    alert_chat_ids: CommaInts = Field(
        (), description="chats that get alert notifications, with commas; unset: TELEGRAM_CHAT_IDS"
    )
    bridge_url: Address = Field(
        "http://127.0.0.1:8080",
        description="URL of the bridge, which knows the first chat where no setting names one",
    )
    alertmanager_peers: CommaStrings = Field(
        (), description="external URLs of the Alertmanagers of one cluster, if they differ; with commas"
    )
    alertmanager_url: Address | None = Field(
        None,
        description="URL of Alertmanager; unset: health unknown, alerts beyond max_alerts are not fetched",
    )
    watchdog_max_age_seconds: float = Field(
        300.0, gt=0, description="longest time between two Watchdog alerts before an incident opens, seconds"
    )
    alert_retention_days: float = Field(
        90.0, ge=0, description="days to store resolved incidents and webhooks; 0: no limit"
    )

    @property
    def recipients(self) -> tuple[int, ...]:
        """The chats of the settings, each once; empty: that of the bridge is used."""
        return tuple(dict.fromkeys(self.alert_chat_ids or self.default_chats))

    def cluster_of(self, external_url: str) -> str:
        """Returns the cluster name of an Alertmanager: the URL of the first peer, or the URL itself."""
        url = external_url.rstrip("/")
        peers = [peer.rstrip("/") for peer in self.alertmanager_peers]
        return peers[0] if url in peers else url
