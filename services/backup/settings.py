"""The environment variables of the commands backup and restore."""

from pydantic import Field, SecretStr

from services.kit.settings import ServiceSettings


class BackupSettings(ServiceSettings):
    database_url: SecretStr = Field(
        SecretStr(""),
        description="unset: a SQLite file in DATA_DIR; else postgresql://user:password@host/name",
    )
