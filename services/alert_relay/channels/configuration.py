"""The channels of the settings, with their secrets. Pure.

ALERT_CHANNELS is TOML or JSON with a table for each target: ``[slack.NAME]``, ``[pagerduty.NAME]``,
``[webhook.NAME]``, ``[apprise.NAME]``. These URLs are the operator's own, so they may lead to this
machine and to private networks; redirects are not followed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from services.alert_relay.channels.mail_server import Mailbox, MailServer
from services.alert_relay.channels.target import NAME_FORM, Channel, Target
from services.contracts.fields import Strict
from services.kit import field_errors
from services.kit.field_errors import ErrorText
from services.kit.settings import read_tables
from services.kit.web import webhook_signatures

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
SLACK_API_URL = "https://slack.com/api"
MOST_NAMES = 100

_Name = Annotated[
    str,
    StringConstraints(pattern=NAME_FORM),
    ErrorText("a name has letters, digits, '.', '_' and '-', at most 64"),
]
_Url = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^\s/]\S*$", max_length=2_000),
    ErrorText("write a URL that begins with http:// or https://"),
]


def _signing_secret(secret: str) -> str:
    webhook_signatures.check(secret)
    if not secret.split():
        raise ValueError("a signing secret is whsec_ followed by base64")
    return secret


class SlackDocument(Strict):
    """A target in Slack: an incoming webhook, or a bot with a channel."""

    webhook_url: _Url | None = None
    token: Annotated[
        str | None,
        StringConstraints(pattern=r"^xox[a-z]-[A-Za-z0-9-]{10,200}$"),
        ErrorText("write the bot's token, which begins with xoxb-"),
    ] = None
    channel: Annotated[
        str | None,
        # chat.update takes no names.
        StringConstraints(pattern=r"^[CGD][A-Z0-9]{7,20}$"),
        ErrorText("write the channel's id, such as C0123456789: it is at the end of the channel's details"),
    ] = None
    api_url: _Url = SLACK_API_URL

    @model_validator(mode="after")
    def _one_of_two(self) -> "SlackDocument":
        bot = (self.token is not None, self.channel is not None)
        if self.webhook_url is not None and any(bot):
            raise ValueError("write webhook_url, or token and channel, not both")
        if self.webhook_url is None and not all(bot):
            raise ValueError("write webhook_url, or token and channel")
        return self


class PagerDutyDocument(Strict):
    """An integration of a PagerDuty service, by the Events API v2."""

    routing_key: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9]{32}$"),
        ErrorText("write the integration key of Events API v2, 32 letters and digits"),
    ]
    url: _Url = PAGERDUTY_URL


class WebhookDocument(Strict):
    """A program that gets signed calls."""

    url: _Url
    secret: Annotated[str, Field(max_length=1_000), AfterValidator(_signing_secret)]


class AppriseDocument(Strict):
    """A service that Apprise knows, by its URL."""

    url: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9]+://\S+$", max_length=2_000),
        ErrorText("write a URL as Apprise has it, such as ntfy://host/topic"),
    ]


_Slacks = Annotated[dict[_Name, SlackDocument], Field(max_length=MOST_NAMES)]
_PagerDuties = Annotated[dict[_Name, PagerDutyDocument], Field(max_length=MOST_NAMES)]
_Webhooks = Annotated[dict[_Name, WebhookDocument], Field(max_length=MOST_NAMES)]
_Apprises = Annotated[dict[_Name, AppriseDocument], Field(max_length=MOST_NAMES)]


class _Document(Strict):
    slack: _Slacks = Field(default_factory=dict)
    pagerduty: _PagerDuties = Field(default_factory=dict)
    webhook: _Webhooks = Field(default_factory=dict)
    apprise: _Apprises = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    """An incoming webhook of Slack: it posts into one channel and can change nothing."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SlackBot:
    """A bot in a channel of Slack: it posts, edits its messages and answers in threads."""

    token: str = field(repr=False)
    channel: str
    api_url: str


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """An integration of a PagerDuty service."""

    routing_key: str = field(repr=False)
    url: str


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """A program that gets signed calls; ``secret``: one or several, with spaces, the newest first."""

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChannelConfiguration:
    """The channels beside Telegram; by the name in a target's text, where a channel has names.

    Args:
        server: sends mails; None: no mail can be sent.
        sender: of mails.
        slack, pagerduty, webhooks: by name.
        apprise: URLs of Apprise by name; they hold secrets.
    """

    server: MailServer | None = None
    sender: Mailbox | None = None
    slack: Mapping[str, SlackWebhook | SlackBot] = field(default_factory=dict)
    pagerduty: Mapping[str, PagerDuty] = field(default_factory=dict)
    webhooks: Mapping[str, SignedWebhook] = field(default_factory=dict)
    apprise: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def named(self) -> Iterator[Target]:
        """The targets that have a name in the settings."""
        for channel, names in self._names.items():
            yield from (Target(channel, name) for name in names)

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels by which something can be sent, beside Telegram."""
        mail = {Channel.EMAIL} if self.server is not None else set()
        return frozenset({each.channel for each in self.named} | mail)

    def check(self, target: Target) -> None:
        """Checks that a target can be reached.

        Raises:
            ValueError: no setting describes it; the error says which one is missing.
        """
        if target.channel is Channel.TELEGRAM:
            return
        if target.channel is Channel.EMAIL:
            if self.server is None:
                raise ValueError(f"{target}: set SMTP_URL and SMTP_FROM to send mails")
            return
        names = self._names[target.channel]
        if target.address not in names:
            known = ", ".join(names) or "none"
            raise ValueError(
                f"{target}: ALERT_CHANNELS has no [{target.channel}.{target.address}]; known: {known}"
            )

    def edits(self, target: Target) -> bool:
        """Whether a message to a target can be changed later, if its channel can do that."""
        return not isinstance(self.slack.get(target.address), SlackWebhook) or (
            target.channel is not Channel.SLACK
        )

    @property
    def _names(self) -> Mapping[Channel, Mapping[str, object]]:
        return {
            Channel.SLACK: self.slack,
            Channel.PAGERDUTY: self.pagerduty,
            Channel.WEBHOOK: self.webhooks,
            Channel.APPRISE: self.apprise,
        }


_document = TypeAdapter(_Document)


def read(text: str, server: MailServer | None, sender: Mailbox | None) -> ChannelConfiguration:
    """Returns the channels of the settings.

    Args:
        text: ALERT_CHANNELS; empty: none.
        server: of SMTP_URL, if it is set.
        sender: SMTP_FROM, if it is set.

    Raises:
        ValueError: the text is invalid; the error names the field and no secret.
    """
    try:
        found = _document.validate_python(read_tables(text))
    except ValidationError as error:
        raise ValueError("; ".join(field_errors.lines(error))) from None
    return ChannelConfiguration(
        server,
        sender,
        {name: _slack(one) for name, one in found.slack.items()},
        {name: PagerDuty(one.routing_key, one.url) for name, one in found.pagerduty.items()},
        {name: SignedWebhook(one.url, one.secret) for name, one in found.webhook.items()},
        {name: one.url for name, one in found.apprise.items()},
    )


def _slack(found: SlackDocument) -> SlackWebhook | SlackBot:
    if found.webhook_url is not None:
        return SlackWebhook(found.webhook_url)
    return SlackBot(found.token or "", found.channel or "", found.api_url.rstrip("/"))
