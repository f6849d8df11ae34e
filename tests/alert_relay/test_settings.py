import os
from pathlib import Path

import pytest

from services.alert_relay.channels.target import Target
from services.alert_relay.settings import AlertRelaySettings
from services.kit.settings import StartError, load
from tests.forking import Programs


def test_alerts_go_to_the_chats_of_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_CHAT_IDS", "1,2")
    monkeypatch.setenv("ALERT_CHAT_IDS", "-1003, 4, 4")

    assert load(AlertRelaySettings).recipients == (-1003, 4)


def test_without_chats_of_their_own_alerts_go_where_everything_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_CHAT_IDS", "1,2")

    assert load(AlertRelaySettings).recipients == (1, 2)


def test_without_any_setting_the_first_person_of_the_sandbox_gets_alerts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert AlertRelaySettings().recipients == (1001,)
    # A real bot has no chat until a person chooses one.
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "5:real")
    assert load(AlertRelaySettings).recipients == ()


def test_further_targets_get_all_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_TARGETS", "telegram:-1003/7, telegram:5,telegram:05")

    assert load(AlertRelaySettings).alert_targets == (Target.telegram(-1003, 7), Target.telegram(5))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("ops", "names no channel"),
        ("telegram:1,email:ada", "no mail address"),
        ("slack:ops", r"slack:ops: ALERT_CHANNELS has no \[slack.ops\]"),
    ],
)
def test_a_text_that_is_no_target_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str, error: str) -> None:
    monkeypatch.setenv("ALERT_TARGETS", wrong)

    with pytest.raises(StartError, match=f"^ALERT_TARGETS: .*{error}"):
        load(AlertRelaySettings)


@pytest.mark.parametrize("wrong", ["@ops", "Operations", "1001,@ops"])
def test_settings_take_ids_of_chats_and_say_so(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """The chats of the settings are needed before anything can be asked about names."""
    monkeypatch.setenv("TELEGRAM_CHAT_IDS", wrong)
    with pytest.raises(StartError, match=r"^TELEGRAM_CHAT_IDS: .*names and @usernames are not read"):
        load(AlertRelaySettings)


@pytest.mark.parametrize("wrong", ["ada", "0", "1001,0", str(2**53 + 1), "9" * 400, "1.5"])
def test_a_chat_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("ALERT_CHAT_IDS", wrong)

    with pytest.raises(StartError, match=r"^ALERT_CHAT_IDS: "):
        load(AlertRelaySettings)


def test_a_port_that_is_no_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_RELAY_PORT", "eighty")

    with pytest.raises(StartError, match=r"^ALERT_RELAY_PORT: "):
        load(AlertRelaySettings)


@pytest.mark.xdist_group("programs")
@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL: write sqlite:///path or postgresql://"),
        ({"DATA_DIR": "/proc/nowhere"}, "DATA_DIR: cannot keep the API key in /proc/nowhere"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    variables: dict[str, str], line: str, tmp_path: Path, programs: Programs
) -> None:
    ours = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "ALERT_RELAY_PORT": "0"}
    ended = programs.run("services.alert_relay", environment=ours | variables)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1
    assert last.startswith(f"cannot start: {line}")
