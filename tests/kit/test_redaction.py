import pytest

from services.kit.logs import REDACTED, redact

TOKEN = "1000000001:AAEhBP0av28fjk-verysecret-verysecret"


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"https://api.telegram.org/bot{TOKEN}/sendMessage",
        f"http://127.0.0.1:8083/bot{TOKEN}/getUpdates?offset=3",
        f"TELEGRAM_BOT_TOKEN={TOKEN}",
        f"'{TOKEN}'",
    ],
)
def test_a_bot_token_is_cut_out_wherever_it_stands(text: str) -> None:
    assert redact(text) == text.replace(TOKEN, REDACTED)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def-1", f"Authorization: Bearer {REDACTED}"),
        ("key cct_0123456789abcdefXYZ end", f"key {REDACTED} end"),
        ("postgresql://user:hunter2@db:5432/x", f"postgresql://{REDACTED}@db:5432/x"),
    ],
)
def test_keys_and_passwords_are_cut_out(text: str, left: str) -> None:
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8080/api/v1/messages",
        "at 2026-01-01T10:30:00Z",
        "chat 1001 took 12.5 ms",
        "ratio 100000:1",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
