"""What the bridge reads from its environment."""

from pydantic import Field

from services.outbox.settings import TelegramSettings


class BridgeSettings(TelegramSettings):
    port: int = Field(8080, validation_alias="BRIDGE_PORT", ge=0, le=65535, description="port of the bridge")
    redis_url: str = Field("", description="shares the bot's rate among replicas; unset: this process alone")
    dashboard_url: str = Field("http://127.0.0.1:8082", description="where /dashboard/ leads to")
    jaeger_ui_url: str = Field("", description="Jaeger as a browser reaches it, for links to traces")
    retention_days: float = Field(
        30.0, ge=0, description="days that finished messages stay in the database; 0: for ever"
    )
    stream_heartbeat_seconds: float = Field(
        15.0, gt=0, description="a stream that has nothing to tell says so this often"
    )
    rate_limit_per_second: float = Field(
        1_000.0, ge=0, description="requests a second of one key, on average; 0: no limit"
    )
