"""The environment variables of channels beside Telegram."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from services.alert_relay.channels import configuration, mail_server
from services.alert_relay.channels.configuration import ChannelConfiguration
from services.alert_relay.channels.target import Target
from services.outbox.settings import TelegramSettings


def _targets(value: Any) -> Any:
    """Returns the targets of a text with commas, or of several texts, each once."""
    texts = [each for each in value.split(",") if each.strip()] if isinstance(value, str) else value
    return tuple(dict.fromkeys(Target.parse(each) if isinstance(each, str) else each for each in texts))


CommaTargets = Annotated[tuple[Target, ...], NoDecode, BeforeValidator(_targets)]


class ChannelSettings(TelegramSettings):
    """The variables; without any of them alerts go to Telegram alone."""

    alert_targets: CommaTargets = Field(
        (),
        description="further targets of all alerts, with commas, such as email:ada@example.com: see"
        " docs/channels.md",
    )
    alert_fallback_targets: CommaTargets = Field(
        (),
        description="targets that get an incident of which no notification has arrived within a minute, with"
        " commas",
    )
    on_call_file: Path | None = Field(
        None,
        description="YAML file with escalation policies: see docs/on-call.md; unset: all alerts go to all"
        " targets",
    )
    alert_channels: SecretStr = Field(
        SecretStr(""),
        description="Slack, PagerDuty, webhooks and Apprise, as TOML or JSON: see docs/channels.md",
    )
    smtp_url: SecretStr = Field(
        SecretStr(""),
        description="mail server for alerts: smtp://user:password@host:port, or smtps://; unset: no mails",
    )
    smtp_from: str = Field(
        "", description="sender of mails about alerts, such as Alerts <alerts@example.com>"
    )

    @property
    def channels(self) -> ChannelConfiguration:
        """The channels beside Telegram.

        Raises:
            ValueError: a variable is invalid; the error begins with its name, and quotes no secret.
        """
        server = _named("SMTP_URL", mail_server.parse, self.smtp_url.get_secret_value())
        sender = _named("SMTP_FROM", mail_server.mailbox, self.smtp_from)
        if server is not None and sender is None:
            raise ValueError("SMTP_FROM: SMTP_URL is set, so the sender of mails must be, too")
        text = self.alert_channels.get_secret_value()
        found = _named("ALERT_CHANNELS", lambda one: configuration.read(one, server, sender), text)
        return found or ChannelConfiguration(server, sender)

    @model_validator(mode="after")
    def _channels(self) -> Self:
        channels = self.channels
        named = {"ALERT_TARGETS": self.alert_targets, "ALERT_FALLBACK_TARGETS": self.alert_fallback_targets}
        for variable, targets in named.items():
            for each in targets:
                _named(variable, lambda _, one=each: channels.check(one), "check")
        return self


def _named(variable: str, read: Any, text: str) -> Any:
    """Returns what a variable's text means; None where it is empty."""
    try:
        return read(text) if text.strip() else None
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
