"""The texts of an approval as values: the whole prompt, within Telegram's limits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.bridge.approvals import approval, question_text, result_text
from services.bridge.approvals.approval import (
    Actor,
    AnswerOutcome,
    AnswerVia,
    Approval,
    ApprovalState,
    Given,
    Option,
)
from services.bridge.events.templates import Templates
from services.contracts.approvals import NewApproval
from services.contracts.fields import is_blank
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Document, Text
from services.outbox.telegram.text import Builder
from services.telegram_sandbox.bot_api import reply_markup
from tests.outbox.telegram.test_text import telegram_takes

NOW = 1_767_225_600.0
ADA = Actor("Ada Lovelace (@ada)", 1001)
QUESTION = Approval(
    id="id",
    code="K7QX3M",
    token="t" * 16,
    title="Deploy?",
    prompt="git push production",
    options=(Option("yes", "Yes, go"), Option("no", "No")),
    approvers=(1001, 1002),
    bot="default",
    client="tests",
    source="ci",
    severity="high",
    correlation_id="run",
    event_id="event",
    trace=TraceContext(1, 2, sampled=True),
    created_at=NOW,
    expires_at=NOW + 600,
)
DECIDED = replace(
    QUESTION, state=ApprovalState.DECIDED, closed_at=NOW + 5, chosen=0, closed_by=ADA, via=AnswerVia.TAP
)

LABELS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64).filter(
    lambda text: text.strip() == text
)


@given(
    title=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200),
    prompt=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=9_000
    ),
    labels=st.lists(LABELS, min_size=1, max_size=10, unique_by=str.casefold),
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=100),
    comment=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200),
)
def test_every_question_and_verdict_shows_the_prompt_within_telegrams_limits(
    title: str, prompt: str, labels: list[str], name: str, comment: str
) -> None:
    varied = replace(
        QUESTION, title=title, prompt=prompt, options=tuple(Option(label, label) for label in labels)
    )
    question = question_text.question(varied)
    whole = [part.content.decode() if isinstance(part, Document) else part.text for part in question.parts]
    assert any(prompt in text for text in whole)
    decided = replace(
        varied,
        state=ApprovalState.DECIDED,
        closed_at=NOW,
        chosen=0,
        closed_by=Actor(name, 1),
        comment=comment,
    )
    for sent in (
        question,
        question_text.verdict(decided),
        question_text.repeated_question(varied, NOW, NOW + 200, 5),
    ):
        last = sent.parts[-1]
        assert isinstance(last, Text)
        assert len(last.text) <= 4_096
    assert question.keyboard is not None
    rows = question.keyboard["inline_keyboard"]
    buttons = [button for row in rows for button in row]
    shown = [str(number) if is_blank(label) else label for number, label in enumerate(labels, 1)]
    assert [button["text"] for button in buttons] == shown
    reply_markup.check_size(reply_markup.check(reply_markup.parse(dict(question.keyboard)), inline_only=True))
    assert all(len(button["callback_data"].encode()) <= 64 for button in buttons)
    assert question_text.verdict(decided).keyboard is None


def test_a_question_that_is_its_own_prompt_is_shown_once() -> None:
    """`cct ask "Deploy 2.1?"` has no other text."""
    (shown,) = question_text.question(replace(QUESTION, prompt=QUESTION.title)).parts
    assert isinstance(shown, Text)
    assert shown.text.startswith("🙋 Deploy?\n\nUntil ")
    (closed,) = question_text.verdict(replace(DECIDED, prompt=DECIDED.title)).parts
    assert isinstance(closed, Text)
    assert closed.text.startswith("🙋 Deploy?\n\n☑️ Decided: ")


@pytest.mark.parametrize("label", [" ", "\r", "\u200b", "\u2800", "\U000e0020"])
def test_a_label_that_shows_nothing_is_replaced_by_its_number(label: str) -> None:
    """Telegram refuses a button without a text, and leaves out one whose text is empty."""
    keyboard = question_text.keyboard(replace(QUESTION, options=(Option("yes", "Yes"), Option("no", label))))
    assert keyboard is not None
    assert [button["text"] for row in keyboard["inline_keyboard"] for button in row] == ["Yes", "2"]


def test_a_verdict_says_what_was_decided_by_whom_and_when() -> None:
    assert (
        result_text.result_line(DECIDED)
        == "☑️ Decided: Yes, go, by Ada Lovelace (@ada), 2026-01-01 00:00:05 UTC"
    )
    expired = replace(QUESTION, state=ApprovalState.EXPIRED, closed_at=NOW + 601)
    assert result_text.result_line(expired) == "⌛ Expired without an answer, 2026-01-01 00:10:01 UTC"
    cancelled = replace(
        QUESTION, state=ApprovalState.CANCELLED, closed_at=NOW, closed_by=Actor("ci"), comment="superseded"
    )
    assert result_text.result_line(cancelled) == "🚫 Cancelled, by ci, 2026-01-01 00:00:00 UTC: superseded"


@pytest.mark.parametrize("outcome", list(AnswerOutcome))
def test_every_outcome_has_a_toast_within_telegrams_limit(outcome: AnswerOutcome) -> None:
    options = tuple(Option(str(number), "x" * 64) for number in range(10))
    assert 0 < len(result_text.toast(outcome, replace(DECIDED, options=options))) <= 200


def test_the_outcome_of_an_answer() -> None:
    stranger, program = Actor("Mallory", 1003), Actor("ci")
    expired = replace(QUESTION, state=ApprovalState.EXPIRED)
    cancelled = replace(QUESTION, state=ApprovalState.CANCELLED)
    for one, who, chosen, now, wanted in (
        (QUESTION, ADA, 0, NOW, AnswerOutcome.DECIDED),
        (QUESTION, program, 1, NOW, AnswerOutcome.DECIDED),
        (QUESTION, stranger, 0, NOW, AnswerOutcome.FOREIGN),
        (DECIDED, stranger, 0, NOW, AnswerOutcome.FOREIGN),
        (DECIDED, ADA, 1, NOW, AnswerOutcome.LATE),
        (expired, ADA, 0, NOW, AnswerOutcome.EXPIRED),
        (cancelled, ADA, 0, NOW, AnswerOutcome.CANCELLED),
        (QUESTION, ADA, 0, NOW + 600, AnswerOutcome.EXPIRED),
        (QUESTION, ADA, 2, NOW, AnswerOutcome.NO_SUCH_OPTION),
        (QUESTION, ADA, None, NOW, AnswerOutcome.NO_SUCH_OPTION),
    ):
        assert approval.answer_outcome(one, who, Given(chosen), now) is wanted


def test_an_option_is_found_by_its_label_its_value_or_its_number() -> None:
    for text in ("Yes, go", "yes,  GO ", "yes", "1", "1.", " 1) "):
        assert approval.find_option(QUESTION.options, text) == 0
    for text in ("", "0", "3", "maybe", "²", "-1", "y"):
        assert approval.find_option(QUESTION.options, text) is None


def test_a_number_that_is_the_label_of_an_option_finds_that_option() -> None:
    options = (Option("2", "2"), Option("1", "1"))
    assert approval.find_option(options, "1") == 1


def test_an_option_is_found_by_what_looks_the_same() -> None:
    """A keyboard writes an accent as one character, macOS as two; spaces within a label are typed once."""
    options = (Option("today", "Cafe\u0301"), Option("not  today", "Not  \u00a0today"))
    assert approval.find_option(options, "caf\u00e9") == 0
    assert approval.find_option(options, "not today") == 1
    assert approval.find_option(options, "\u200b") is None


def test_people_name_what_they_see_and_programs_what_they_sent() -> None:
    options = (Option("yes", "No"), Option("no", "Yes"))
    assert approval.find_option(options, "Yes") == 1
    assert approval.find_option(options, "yes", values_first=True) == 0


def test_two_options_that_look_the_same_are_refused() -> None:
    new = {"title": "Go?", "prompt": "go"}
    for options in (["Caf\u00e9", "Cafe\u0301"], ["Stop", "Stop\u200b"], ["a b", "a  b"]):
        with pytest.raises(ValidationError, match="two options have the same value"):
            NewApproval.model_validate(new | {"options": options})


@given(st.text(max_size=80))
def test_any_callback_data_is_parsed_or_none(data: str) -> None:
    found = approval.parse_button_data(data)
    assert found is None or approval.button_data(*found).startswith("a:")


def test_button_data_is_parsed_back() -> None:
    token = approval.new_token()
    assert approval.parse_button_data(approval.button_data(token, 9)) == (token, 9)
    assert len({approval.new_code() for _ in range(100)}) == 100


THEIRS = Builder().text("Ops asks: ").pre(QUESTION.prompt).text("\nthink first").build()


def test_the_text_of_a_template_is_shown_and_stays_above_the_verdict() -> None:
    question = question_text.question(QUESTION, THEIRS)
    (shown,) = question.parts
    assert isinstance(shown, Text)
    assert shown.text.startswith(
        "Ops asks: git push production\nthink first\n\nUntil 2026-01-01 00:10:00 UTC."
    )
    assert question.keyboard == question_text.question(QUESTION).keyboard
    (closed,) = question_text.verdict(DECIDED, shown).parts
    assert isinstance(closed, Text)
    assert closed.text == f"{THEIRS.text}\n\n{result_text.result_line(DECIDED)}"
    assert [entity["type"] for entity in closed.entities] == ["pre", "bold"]


def test_a_text_without_the_whole_prompt_is_not_used() -> None:
    assert question_text.question(QUESTION, Text("Deploy, yes or no?")) == question_text.question(QUESTION)


def test_the_verdict_of_a_question_that_is_no_longer_stored_uses_our_text() -> None:
    assert question_text.verdict(DECIDED, Text("something else")) == question_text.verdict(DECIDED)


@given(
    prompt=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=4_500
    ).filter(str.strip),
    template=st.sampled_from(
        [
            "{{ data.approval_prompt }}",
            "{{ title|bold }}\n{{ data.approval_prompt|pre('diff') }}",
            "{{ title }}",
        ]
    ),
    comment=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200),
)
def test_with_any_template_a_question_shows_the_prompt_within_telegrams_limits(
    prompt: str, template: str, comment: str
) -> None:
    varied = replace(QUESTION, prompt=prompt)
    question = question_text.render_question(Templates({"approval_request": template}), varied)
    whole = [part.content.decode() if isinstance(part, Document) else part.text for part in question.parts]
    assert any(prompt.strip() in text for text in whole)
    decided = replace(
        varied, state=ApprovalState.DECIDED, closed_at=NOW, chosen=0, closed_by=ADA, comment=comment
    )
    last = question.parts[-1]
    assert isinstance(last, Text)
    for sent in (question, question_text.verdict(decided, last)):
        part = sent.parts[-1]
        assert isinstance(part, Text)
        assert len(part.text) <= 4_096
        telegram_takes(part)
    (closed,) = question_text.verdict(decided, last).parts
    assert isinstance(closed, Text)
    assert "Until " not in closed.text.removeprefix(prompt)
    assert closed.text.endswith(result_text.result_line(decided))
