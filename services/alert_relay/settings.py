"""The environment variables of alert-relay."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from services.alert_relay import digest_time
from services.alert_relay.channels.settings import ChannelSettings
from services.alert_relay.clusters import configuration
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.alert_relay.digest_time import DigestTime
from services.alert_relay.incidents import throttles
from services.alert_relay.incidents.throttles import Throttle
from services.kit.settings import Address, CommaInts, CommaStrings
from services.outbox.settings import TELEGRAM_URL, OptionalToken


class AlertRelaySettings(ChannelSettings):
    port: int = Field(
        8081, ge=0, le=65535, validation_alias="ALERT_RELAY_PORT", description="port of alert-relay"
    )
    # A group of thousands of alerts is one webhook, and Alertmanager drops it if it is refused as too large.
    max_body_bytes: int = Field(16_777_216, ge=1024, description="largest accepted request body, bytes")
    alert_chat_ids: CommaInts = Field(
        (), description="chats that get alert notifications, with commas; unset: TELEGRAM_CHAT_IDS"
    )
    alert_bot_token: OptionalToken = Field(
        SecretStr(""),
        description="a bot of alert-relay's own, from BotFather; unset: TELEGRAM_BOT_TOKEN, and the bridge"
        " hands on what people do",
    )
    alert_user_ids: CommaInts = Field(
        (),
        description="Telegram users who may handle incidents, with commas; unset: everybody in their chats",
    )
    bridge_url: Address = Field(
        "http://127.0.0.1:8080",
        description="URL of the bridge, which knows the first chat where no setting names one",
    )
    alertmanager_url: Address | None = Field(
        None,
        description="URL of Alertmanager; unset: health unknown, alerts beyond max_alerts are not fetched",
    )
    alertmanager_peers: CommaStrings = Field(
        (),
        description="external URLs (--web.external-url) of the Alertmanagers at ALERTMANAGER_URL; commas",
    )
    alertmanager_clusters: SecretStr = Field(
        SecretStr(""),
        description="further clusters of Alertmanagers, as TOML or JSON: see docs/alertmanager.md",
    )
    alertmanager_read_seconds: float = Field(
        30.0, ge=1, le=300, description="seconds between two readings of all alerts of a cluster"
    )
    watchdog_max_age_seconds: float = Field(
        300.0,
        ge=0,
        description="longest time between two Watchdog alerts before an incident opens, seconds; 0: never",
    )
    incident_reopen_seconds: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="an alert that fires again within so many seconds reopens its incident; 0: never",
    )
    alert_throttles: str = Field(
        "Payment.*=0s, HighErrorRate|HighHTTPErrorRate=30m, HighQueueDepth|MessageProcessingBacklog=15m",
        description="least time between two sounds about an incident, by names of alerts: NAMES=TIME, …",
    )
    alert_digest: str = Field(
        "", description="when the weekly digest is sent, such as mon 09:00 Europe/Berlin; unset: never"
    )
    alert_digest_chat: int | None = Field(
        None, description="chat that gets the weekly digest; unset: the first one that gets alerts"
    )
    storm_incidents: int = Field(
        10,
        ge=0,
        le=10_000,
        description="incidents of a minute with a message each; more of them have one together; 0: no limit",
    )
    acknowledge_seconds: float = Field(
        14_400.0,
        ge=0,
        le=2_592_000,
        description="how long an acknowledgement of a firing incident counts, seconds; 0: without limit",
    )
    alert_retention_days: float = Field(
        90.0, ge=0, description="days to store resolved incidents and webhooks; 0: no limit"
    )

    @property
    def has_own_bot(self) -> bool:
        return bool(self.alert_bot_token.get_secret_value())

    @property
    def token(self) -> str:
        """Of the bot that sends the alerts."""
        return (self.alert_bot_token if self.has_own_bot else self.telegram_bot_token).get_secret_value()

    @property
    def bot_api_url(self) -> str:
        """The Bot API server of that bot."""
        return self.telegram_api_url or (TELEGRAM_URL if self.has_own_bot else self.api_url)

    @property
    def recipients(self) -> tuple[int, ...]:
        """The chats of the settings, each once; empty: that of the bridge is used."""
        return tuple(dict.fromkeys(self.alert_chat_ids or self.default_chats))

    @property
    def clusters(self) -> tuple[ClusterConfiguration, ...]:
        """The clusters of the settings.

        Raises:
            ValueError: ALERTMANAGER_CLUSTERS is invalid.
        """
        return configuration.read(
            self.alertmanager_clusters.get_secret_value(),
            filter(None, [self.alertmanager_url]),
            self.alertmanager_peers,
        )

    @property
    def throttles(self) -> tuple[Throttle, ...]:
        """The times between two notifications with a sound.

        Raises:
            ValueError: ALERT_THROTTLES is invalid.
        """
        return throttles.parse(self.alert_throttles)

    @property
    def digest(self) -> DigestTime | None:
        """When the weekly digest is sent; None: never.

        Raises:
            ValueError: ALERT_DIGEST is invalid.
        """
        return digest_time.parse(self.alert_digest)

    @model_validator(mode="after")
    def _digest(self) -> Self:
        try:
            _ = self.digest
        except ValueError as error:
            raise ValueError(f"ALERT_DIGEST: {error}") from None
        return self

    @model_validator(mode="after")
    def _throttles(self) -> Self:
        try:
            _ = self.throttles
        except ValueError as error:
            raise ValueError(f"ALERT_THROTTLES: {error}") from None
        return self

    @model_validator(mode="after")
    def _two_bots(self) -> Self:
        if self.has_own_bot and self.token == self.telegram_bot_token.get_secret_value():
            raise ValueError(
                "ALERT_BOT_TOKEN: this is the token of TELEGRAM_BOT_TOKEN, and Telegram gives the updates of"
                " a bot to one program; make another bot at @BotFather, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _clusters(self) -> Self:
        try:
            _ = self.clusters
        except ValueError as error:
            raise ValueError(f"ALERTMANAGER_CLUSTERS: {error}") from None
        return self
