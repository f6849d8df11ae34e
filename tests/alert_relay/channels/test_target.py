import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.alert_relay.channels.target import FORMS, Channel, Target


@pytest.mark.parametrize(
    "text",
    [
        "telegram:1001",
        "telegram:-1001234567890/7",
        "email:ada@example.com",
        "email:on-call+db@ops.example.com",
        "email:root@localhost",
        "slack:operations",
        "pagerduty:payments.eu",
        "webhook:status-page_2",
        "apprise:ntfy",
    ],
)
def test_a_target_is_its_text(text: str) -> None:
    assert str(Target.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (" Email: Ada@EXAMPLE.com ", Target(Channel.EMAIL, "Ada@example.com")),
        ("telegram:007", Target.telegram(7)),
        ("SLACK:Ops", Target(Channel.SLACK, "Ops")),
    ],
)
def test_a_target_has_one_spelling(text: str, target: Target) -> None:
    assert Target.parse(text) == target


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "names no channel; write one of telegram:CHAT_ID"),
        ("1001", "names no channel"),
        ("sms:+491234", "names no channel"),
        ("telegram:@ops", "a chat is its id, a number.* write telegram:CHAT_ID or telegram:CHAT_ID/TOPIC"),
        ("telegram:0", "no chat has the id 0"),
        ("telegram:5/0", "telegram:5/0: not an integer from 1"),
        ("telegram:9999999999999999", "not an integer"),
        ("email:ada", "no mail address"),
        ("email:a@b\r\nBcc: c@d", "no mail address"),
        ("email:Ada <ada@example.com>", "no mail address"),
        ("email:" + "a" * 60 + "@" + "b." * 120 + "com", "no mail address"),
        ("slack:https://hooks.slack.com/services/T/B/secret", "a name has letters"),
        ("pagerduty:", "a name has letters"),
        ("webhook:a b", "write webhook:NAME"),
        ("email:" + "a" * 400, "at most 330 characters"),
    ],
)
def test_a_text_that_is_no_target_gets_an_error_with_the_valid_form(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Target.parse(text)


@given(some.sampled_from(Channel), some.text(max_size=40))
def test_whatever_is_read_can_be_read_again(channel: Channel, address: str) -> None:
    try:
        target = Target.parse(f"{channel}:{address}")
    except ValueError as error:
        assert str(error).endswith(FORMS[channel])  # noqa: PT017 - one of the two must hold
    else:
        assert Target.parse(str(target)) == target


def test_a_chat_of_telegram_has_its_ids() -> None:
    assert Target.parse("telegram:-100/7").chat == (-100, 7)
    assert Target.telegram(5).chat == (5, None)
    assert Target.parse("slack:operations").chat is None
