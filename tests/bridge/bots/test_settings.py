"""TELEGRAM_BOTS as people write it: TOML or JSON, as text or in a file; what is wrong stops the start."""

from pathlib import Path

import pytest

from services.bridge import bots
from services.bridge.bots import DEFAULT, Bot
from services.bridge.settings import BridgeSettings
from services.kit.settings import StartError, load
from services.outbox.rate_limit.limits import Limits

TOML = """
[alerts]
token = "2:of-alerts"
chat_ids = [-100500, 77]
bot_per_second = 10

[campaigns]
token = "3:of-campaigns"
api_url = "http://bot-api.internal:8081"
allowed_users = [9]
chat_per_second = 0.5
chat_burst = 1
group_per_minute = 0
paid_broadcast = true
paid_per_second = 200
"""
JSON = '{"alerts": {"token": "2:of-alerts", "chat_ids": [5]}}'


@pytest.fixture(autouse=True)
def _a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:of-default")
    monkeypatch.setenv("TELEGRAM_CHAT_IDS", "7,-8")


def read() -> dict[str, Bot]:
    return load(BridgeSettings).bots()


def refused(monkeypatch: pytest.MonkeyPatch, written: str) -> str:
    monkeypatch.setenv("TELEGRAM_BOTS", written)
    with pytest.raises(StartError) as caught:
        load(BridgeSettings)
    return str(caught.value)


def test_without_telegram_bots_there_is_the_default_one_as_ever() -> None:
    (bot,) = read().values()
    assert (bot.name, bot.token, bot.api_url) == (DEFAULT, "1:of-default", "https://api.telegram.org")
    assert (bot.chats, bot.allowed, bot.limits) == ((7, -8), frozenset({7}), Limits())
    assert (bot.paid_per_second, bot.paid_beyond, bot.webhook_url) == (0, 0, "")


def test_what_a_table_leaves_out_is_as_for_the_default_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOTS", TOML)
    monkeypatch.setenv("TELEGRAM_CHAT_PER_SECOND", "2")
    found = read()
    assert list(found) == [DEFAULT, "alerts", "campaigns"]
    alerts, campaigns = found["alerts"], found["campaigns"]
    assert (alerts.token, alerts.api_url) == ("2:of-alerts", "https://api.telegram.org")
    assert (alerts.chats, alerts.allowed) == ((-100500, 77), frozenset({77}))
    assert alerts.limits == Limits(bot_per_second=10, chat_per_second=2)
    assert alerts.paid_per_second == 0
    assert (campaigns.api_url, campaigns.chats, campaigns.allowed) == (
        "http://bot-api.internal:8081",
        (7, -8),
        frozenset({9}),
    )
    assert campaigns.limits == Limits(30, 0.5, 1, 0)
    assert (campaigns.paid_per_second, campaigns.paid_beyond) == (200, 170)


def test_json_is_as_good_as_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOTS", JSON)
    assert read()["alerts"].chats == (5,)


def test_it_may_be_a_file_and_so_may_each_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("2:from-a-file\n", encoding="utf-8")
    file = tmp_path / "bots.toml"
    file.write_text(f'[alerts]\ntoken_file = "{secret}"\n', encoding="utf-8")
    monkeypatch.setenv("TELEGRAM_BOTS_FILE", str(file))
    assert read()["alerts"].token == "2:from-a-file"


def test_whoever_may_answer_everywhere_may_answer_a_bot_that_names_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELEGRAM_BOTS", TOML)
    monkeypatch.setenv("TELEGRAM_ALLOWED_USERS", "1,2")
    assert {name: bot.allowed for name, bot in read().items()} == {
        "default": {1, 2},
        "alerts": {1, 2},
        "campaigns": {9},
    }


def test_each_bot_has_a_webhook_and_a_secret_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOTS", JSON)
    monkeypatch.setenv("TELEGRAM_WEBHOOK_URL", "https://bridge.example/telegram/webhook/")
    default, alerts = read().values()
    assert default.webhook_url == "https://bridge.example/telegram/webhook/"
    assert alerts.webhook_url == "https://bridge.example/telegram/webhook/alerts"
    assert default.webhook_secret != alerts.webhook_secret
    monkeypatch.setenv("TELEGRAM_WEBHOOK_SECRET", "one-for-all")
    assert {bot.webhook_secret for bot in read().values()} == {"one-for-all"}


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://bridge.example/telegram/webhook", True),
        ("https://bridge.example:8443/telegram/webhook", True),
        ("http://bridge.example/telegram/webhook", False),
        ("https://bridge.example:8080/telegram/webhook", False),
        ("https://bridge.example:port/", False),
        ("bridge.example", False),
    ],
)
def test_a_webhook_that_telegram_refuses_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, url: str, taken: bool
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "5:real")
    monkeypatch.setenv("TELEGRAM_CHAT_IDS", "1")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_URL", url)
    if taken:
        assert read()["default"].webhook_url == url
        return
    with pytest.raises(StartError, match="TELEGRAM_WEBHOOK_URL"):
        read()


def test_a_bot_api_server_of_one_s_own_takes_any_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "5:real")
    monkeypatch.setenv("TELEGRAM_CHAT_IDS", "1")
    monkeypatch.setenv("TELEGRAM_API_URL", "http://telegram-bot-api:8081")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_URL", "http://bridge:8080/telegram/webhook")
    assert read()["default"].webhook_url == "http://bridge:8080/telegram/webhook"


@pytest.mark.parametrize("secret", ["no spaces", "x" * 257, "ü"])
def test_a_webhook_secret_that_telegram_refuses_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("TELEGRAM_WEBHOOK_SECRET", secret)
    with pytest.raises(StartError, match="1 to 256 letters, digits"):
        read()


def test_paid_broadcast_is_off_and_can_be_on_for_all_or_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "TELEGRAM_BOTS", '{"a": {"token": "2:a", "paid_broadcast": false}, "b": {"token": "3:b"}}'
    )
    assert {bot.paid_beyond for bot in read().values()} == {0}
    monkeypatch.setenv("TELEGRAM_PAID_BROADCAST", "true")
    monkeypatch.setenv("TELEGRAM_PAID_PER_SECOND", "500")
    assert [bot.paid_beyond for bot in read().values()] == [470, 0, 470]


def test_where_the_free_rate_has_no_limit_nothing_goes_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_PAID_BROADCAST", "true")
    monkeypatch.setenv("TELEGRAM_BOT_PER_SECOND", "0")
    assert [bot.paid_beyond for bot in read().values()] == [0]


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ('{"alerts": {}}', "alerts: give either token or token_file"),
        ('{"alerts": {"token": "2:x", "token_file": "y"}}', "alerts: give either token or token_file"),
        ('{"alerts": {"token_file": "/no/such/file"}}', "alerts.token_file: cannot read /no/such/file"),
        ('{"alerts": {"token": " "}}', "alerts: the token is empty"),
        ('{"alerts": {"token": "2:x y"}}', "alerts: this is no token of a bot"),
        ('{"alerts": {"token": "1:renewed"}}', "alerts: it is the same bot as default"),
        ('{"a": {"token": "2:x"}, "b": {"token": "2:x"}}', "b: it is the same bot as a"),
        ('{"default": {"token": "2:x"}}', "default: this name belongs to TELEGRAM_BOT_TOKEN"),
        ('{"Big Name": {"token": "2:x"}}', "Big Name"),
        ('{"alerts": {"token": "2:x", "chats": [1]}}', "alerts.chats"),
        ('{"alerts": {"token": "2:x", "chat_ids": ["x"]}}', "alerts.chat_ids.0"),
        ('{"alerts": {"token": "2:x", "api_url": "ftp://x"}}', "alerts.api_url"),
        ('{"alerts": {"token": "2:x", "chat_burst": 0}}', "alerts.chat_burst"),
        ('{"alerts": {"token": "2:secret"', "neither TOML nor JSON"),
        ('[alerts]\ntoken = "2:secret', "neither TOML nor JSON"),
        ("[]", "neither TOML nor JSON"),
    ],
)
def test_what_is_wrong_is_told_by_bot_and_field_and_never_a_token(
    monkeypatch: pytest.MonkeyPatch, written: str, named: str
) -> None:
    told = refused(monkeypatch, written)
    assert told.startswith("TELEGRAM_BOTS: ")
    assert named in told
    assert "secret" not in told
    assert "2:x" not in told


def test_further_bots_want_a_default_one_that_is_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN")
    assert refused(monkeypatch, JSON).startswith("TELEGRAM_BOT_TOKEN: set it too")
    monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:8083")
    assert list(read()) == ["default", "alerts"]


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xff\xfe\xfd")
    (one,) = bots.read(f'{{"a": {{"token_file": "{file}"}}}}').values()
    with pytest.raises(ValueError, match="it is not UTF-8 text"):
        one.secret()


def test_a_bot_that_is_printed_shows_no_secret() -> None:
    (bot,) = read().values()
    assert "of-default" not in repr(bot)
    assert bot.webhook_secret not in repr(bot)
