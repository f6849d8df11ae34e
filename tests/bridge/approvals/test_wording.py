"""The words of a question, as values: whole, within Telegram's limits, and honest."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.approvals import approval, question_text
from services.bridge.approvals.approval import (
    Actor,
    AnswerOutcome,
    AnswerVia,
    Approval,
    ApprovalState,
    Option,
)
from services.bridge.events.templates import Templates
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Document, Text
from services.outbox.telegram.text import Builder
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
def test_every_question_and_its_verdict_are_whole_and_within_the_limits(
    title: str, prompt: str, labels: list[str], name: str, comment: str
) -> None:
    asked = replace(
        QUESTION, title=title, prompt=prompt, options=tuple(Option(label, label) for label in labels)
    )
    said = question_text.question(asked)
    whole = [part.content.decode() if isinstance(part, Document) else part.text for part in said.parts]
    assert any(prompt in text for text in whole)
    decided = replace(
        asked, state=ApprovalState.DECIDED, closed_at=NOW, chosen=0, closed_by=Actor(name, 1), comment=comment
    )
    for words in (
        said,
        question_text.verdict(decided),
        question_text.repeated_question(asked, NOW, NOW + 200, 5),
    ):
        last = words.parts[-1]
        assert isinstance(last, Text)
        assert len(last.text) <= 4_096
    assert said.keyboard is not None
    rows = said.keyboard["inline_keyboard"]
    buttons = [button for row in rows for button in row]
    assert [button["text"] for button in buttons] == labels
    assert all(len(button["callback_data"].encode()) <= 64 for button in buttons)
    assert question_text.verdict(decided).keyboard is None


def test_a_closed_question_says_what_who_and_when() -> None:
    assert (
        question_text.result_line(DECIDED)
        == "☑️ Decided: Yes, go, by Ada Lovelace (@ada), 2026-01-01 00:00:05 UTC"
    )
    expired = replace(QUESTION, state=ApprovalState.EXPIRED, closed_at=NOW + 601)
    assert question_text.result_line(expired) == "⌛ Expired without an answer, 2026-01-01 00:10:01 UTC"
    cancelled = replace(
        QUESTION, state=ApprovalState.CANCELLED, closed_at=NOW, closed_by=Actor("ci"), comment="superseded"
    )
    assert question_text.result_line(cancelled) == "🚫 Cancelled, by ci, 2026-01-01 00:00:00 UTC: superseded"


@pytest.mark.parametrize("outcome", list(AnswerOutcome))
def test_every_outcome_has_an_honest_answer_that_fits_over_a_button(outcome: AnswerOutcome) -> None:
    options = tuple(Option(str(number), "x" * 64) for number in range(10))
    assert 0 < len(question_text.toast(outcome, replace(DECIDED, options=options))) <= 200


def test_what_an_answer_comes_to() -> None:
    stranger, program = Actor("Mallory", 1003), Actor("ci")
    expired = replace(QUESTION, state=ApprovalState.EXPIRED)
    cancelled = replace(QUESTION, state=ApprovalState.CANCELLED)
    for asked, who, chosen, now, wanted in (
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
        assert approval.answer_outcome(asked, who, chosen, now) is wanted


def test_an_option_is_meant_by_its_label_its_value_or_its_number() -> None:
    for said in ("Yes, go", "yes,  GO ", "yes", "1", "1.", " 1) "):
        assert approval.find_option(QUESTION.options, said) == 0
    for said in ("", "0", "3", "maybe", "²", "-1", "y"):
        assert approval.find_option(QUESTION.options, said) is None


def test_a_number_that_is_an_options_own_name_means_that_option() -> None:
    options = (Option("2", "2"), Option("1", "1"))
    assert approval.find_option(options, "1") == 1


@given(st.text(max_size=80))
def test_no_callback_data_can_break_the_reading(data: str) -> None:
    found = approval.parse_button_data(data)
    assert found is None or approval.button_data(*found).startswith("a:")


def test_a_buttons_data_is_read_back() -> None:
    token = approval.new_token()
    assert approval.parse_button_data(approval.button_data(token, 9)) == (token, 9)
    assert len({approval.new_code() for _ in range(100)}) == 100


THEIRS = Builder().text("Ops asks: ").pre(QUESTION.prompt).text("\nthink first").build()


def test_a_teams_own_words_are_shown_and_stay_under_the_verdict() -> None:
    said = question_text.question(QUESTION, THEIRS)
    (shown,) = said.parts
    assert isinstance(shown, Text)
    assert shown.text.startswith(
        "Ops asks: git push production\nthink first\n\nUntil 2026-01-01 00:10:00 UTC."
    )
    assert said.keyboard == question_text.question(QUESTION).keyboard
    (closed,) = question_text.verdict(DECIDED, shown).parts
    assert isinstance(closed, Text)
    assert closed.text == f"{THEIRS.text}\n\n{question_text.result_line(DECIDED)}"
    assert [entity["type"] for entity in closed.entities] == ["pre", "bold"]


def test_words_that_leave_out_what_is_decided_on_are_not_used() -> None:
    assert question_text.question(QUESTION, Text("Deploy, yes or no?")) == question_text.question(QUESTION)


def test_a_question_that_nobody_keeps_any_more_is_told_in_our_words() -> None:
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
def test_by_any_template_a_question_is_whole_and_within_the_limits(
    prompt: str, template: str, comment: str
) -> None:
    asked = replace(QUESTION, prompt=prompt)
    said = question_text.render_question(Templates({"approval_request": template}), asked)
    whole = [part.content.decode() if isinstance(part, Document) else part.text for part in said.parts]
    assert any(prompt.strip() in text for text in whole)
    decided = replace(
        asked, state=ApprovalState.DECIDED, closed_at=NOW, chosen=0, closed_by=ADA, comment=comment
    )
    last = said.parts[-1]
    assert isinstance(last, Text)
    for words in (said, question_text.verdict(decided, last)):
        part = words.parts[-1]
        assert isinstance(part, Text)
        assert len(part.text) <= 4_096
        telegram_takes(part)
    (closed,) = question_text.verdict(decided, last).parts
    assert isinstance(closed, Text)
    assert "Until " not in closed.text.removeprefix(prompt)
    assert closed.text.endswith(question_text.result_line(decided))
