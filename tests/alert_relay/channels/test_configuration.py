import base64
from pathlib import Path

import pytest

from services.alert_relay.channels.configuration import PagerDuty, SignedWebhook, SlackBot, SlackWebhook
from services.alert_relay.channels.mail_server import Encryption, MailServer
from services.alert_relay.channels.target import Channel, Target
from services.alert_relay.settings import AlertRelaySettings
from services.kit.settings import StartError, load

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
KEY = "a1" * 16
ALL = f"""
[slack.ops]
webhook_url = "https://hooks.slack.com/services/T/B/hidden"
[slack.db]
token = "xoxb-1234567890-hidden"
channel = "C0123456789"
[pagerduty.ops]
routing_key = "{KEY}"
[webhook.page]
url = "http://127.0.0.1:8/alerts"
secret = "{SECRET}"
[apprise.phone]
url = "ntfy://user:hidden@ntfy.example.com/alerts"
"""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ALERT_CHANNELS", ALL)
    monkeypatch.setenv("SMTP_URL", "smtp://ada:p%40ss@mail.example.com")
    monkeypatch.setenv("SMTP_FROM", "Alerts <alerts@Example.com>")
    return monkeypatch


def test_every_channel_of_the_settings_is_read(given: pytest.MonkeyPatch) -> None:
    found = load(AlertRelaySettings).channels

    assert found.server == MailServer("mail.example.com", 587, "ada", "p@ss", Encryption.AUTO)
    assert str(found.sender) == "Alerts <alerts@example.com>"
    assert found.slack == {
        "ops": SlackWebhook("https://hooks.slack.com/services/T/B/hidden"),
        "db": SlackBot("xoxb-1234567890-hidden", "C0123456789", "https://slack.com/api"),
    }
    assert found.pagerduty == {"ops": PagerDuty(KEY, "https://events.pagerduty.com/v2/enqueue")}
    assert found.webhooks == {"page": SignedWebhook("http://127.0.0.1:8/alerts", SECRET)}
    assert found.apprise == {"phone": "ntfy://user:hidden@ntfy.example.com/alerts"}
    assert [str(each) for each in found.named] == [
        "slack:ops",
        "slack:db",
        "pagerduty:ops",
        "webhook:page",
        "apprise:phone",
    ]
    assert found.channels == set(Channel) - {Channel.TELEGRAM}
    assert [found.edits(Target.parse(text)) for text in ("slack:db", "slack:ops", "webhook:ops")] == [
        True,
        False,
        True,
    ]


def test_no_secret_is_shown(given: pytest.MonkeyPatch) -> None:
    shown = repr(load(AlertRelaySettings).channels)
    assert not any(secret in shown for secret in ("hidden", KEY, SECRET, "p@ss"))


def test_channels_come_from_a_file_too(given: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "channels").write_text('{"slack": {"ops": {"webhook_url": "https://hooks.slack.com/x"}}}')
    given.delenv("ALERT_CHANNELS")
    given.setenv("ALERT_CHANNELS_FILE", str(tmp_path / "channels"))
    assert [str(each) for each in load(AlertRelaySettings).channels.named] == ["slack:ops"]


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("ALERT_CHANNELS", "slack", "ALERT_CHANNELS: neither TOML nor JSON"),
        ("ALERT_CHANNELS", "[sms.ops]\nurl='x'", "ALERT_CHANNELS: sms: there is no such field"),
        ("ALERT_CHANNELS", "[slack.ops]", "slack.ops: write webhook_url, or token and channel"),
        (
            "ALERT_CHANNELS",
            "[slack.ops]\ntoken='xoxb-1234567890'\nchannel='#ops'",
            "slack.ops.channel: write the channel's id",
        ),
        (
            "ALERT_CHANNELS",
            "[slack.ops]\ntoken='hidden'\nchannel='C01234567'",
            "slack.ops.token: write",
        ),
        ("ALERT_CHANNELS", "[slack.ops]\nwebhook_url='hidden'", "slack.ops.webhook_url: write a URL"),
        ("ALERT_CHANNELS", "[slack.'o p']\nwebhook_url='https://x'", "a name has letters"),
        ("ALERT_CHANNELS", "[pagerduty.ops]", "pagerduty.ops.routing_key: this field is missing"),
        (
            "ALERT_CHANNELS",
            "[pagerduty.ops]\nrouting_key='hidden'",
            "pagerduty.ops.routing_key: write",
        ),
        (
            "ALERT_CHANNELS",
            "[webhook.a]\nurl='http://x'\nsecret='hidden'",
            "webhook.a.secret: a signing",
        ),
        ("ALERT_CHANNELS", "[webhook.a]\nurl='http://x'\nsecret=''", "webhook.a.secret: a signing"),
        ("ALERT_CHANNELS", "[apprise.a]\nurl='hidden'", "apprise.a.url: write a URL as Apprise"),
        ("SMTP_URL", "mail.example.com", "SMTP_URL: this is no URL of a mail server; write smtp://"),
        ("SMTP_URL", "smtp://ada@mail", "SMTP_URL: a user name and a password belong together"),
        ("SMTP_URL", "smtp://ada:hidden@mail:99999", "SMTP_URL: this is no URL"),
        ("SMTP_URL", "smtp://mail?starttls=perhaps", "SMTP_URL: write starttls="),
        ("SMTP_URL", "smtps://mail?starttls=never", "SMTP_URL: smtps:// is encrypted"),
        ("SMTP_URL", "smtp://mail?tls=1", "SMTP_URL: the only parameter is starttls"),
        ("SMTP_FROM", "", "SMTP_FROM: SMTP_URL is set"),
        ("SMTP_FROM", "alerts", "SMTP_FROM: email:alerts: this is no mail address"),
        (
            "ALERT_TARGETS",
            "slack:none",
            r"slack:none: ALERT_CHANNELS has no \[slack.none\]; known: ops, db",
        ),
    ],
)
def test_a_wrong_value_is_named_without_its_secret(
    given: pytest.MonkeyPatch, variable: str, value: str, error: str
) -> None:
    given.setenv(variable, value)
    with pytest.raises(StartError, match=error) as refused:
        load(AlertRelaySettings)
    assert "hidden" not in str(refused.value)


def test_mails_need_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_TARGETS", "email:ada@example.com")
    with pytest.raises(StartError, match=r"^ALERT_TARGETS: email:ada@example.com: set SMTP_URL"):
        load(AlertRelaySettings)


@pytest.mark.parametrize(
    ("url", "port", "encryption"),
    [
        ("smtp://mail", 587, Encryption.AUTO),
        ("smtp://mail:25?starttls=never", 25, Encryption.NEVER),
        ("smtp://mail?starttls=required", 587, Encryption.REQUIRED),
        ("smtps://mail", 465, Encryption.IMPLICIT),
    ],
)
def test_the_url_says_how_a_mail_server_is_reached(
    given: pytest.MonkeyPatch, url: str, port: int, encryption: Encryption
) -> None:
    given.setenv("SMTP_URL", url)
    found = load(AlertRelaySettings).channels.server
    assert found is not None
    assert (found.port, found.encryption) == (port, encryption)
