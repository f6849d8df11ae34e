"""The messages of an approval that people read in Telegram: question, reminder, verdict. Pure.

The prompt is shown exactly and whole. If it does not fit into a message it is attached as a file, and
the message with the buttons says so, because people must not decide on the beginning of a text alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from services.bridge.approvals.approval import Approval, Option, button_data
from services.bridge.approvals.result_text import SIGN, progress_line, result_line
from services.bridge.bot_messages import BotMessage
from services.bridge.chats.times import DEFAULT_ZONE, date_and_time
from services.bridge.events.templates import Templates, worded
from services.contracts.events import NewEvent
from services.contracts.fields import is_blank
from services.outbox.messages import Document, Text
from services.outbox.telegram.text import (
    CAPTION_LIMIT,
    ENTITY_LIMIT,
    MESSAGE_LIMIT,
    Builder,
    remove_suffix,
)

log = structlog.get_logger()

#: Only the template of this type is used: ``default.txt`` may leave out what is decided on.
EVENT_TYPE = "approval_request"
#: Characters reserved for the verdict, which is appended to the question.
_ROOM_FOR_VERDICT = 600
#: Entities of the line that says how to answer.
_OUR_ENTITIES = 2
#: Two buttons share a row if every label is at most this long.
_NARROW = 16


def render_question(
    templates: Templates | None, approval: Approval, event: NewEvent | None = None
) -> BotMessage:
    """The question with its buttons: by the team's template if it shows the whole prompt, else by ours.

    Args:
        templates: of the team.
        approval: to be decided.
        event: that created the approval, if one did; the template can use its fields.
    """
    if templates is None or not templates.words_itself(EVENT_TYPE):
        return question(approval)
    team_text = worded(templates, EVENT_TYPE, _template_values(approval, event), approval.id)
    if team_text is not None and not is_usable(team_text, approval):
        log.warning(
            "template_not_used",
            approval_id=approval.id,
            reason="it leaves out a part of the prompt, or is too long",
        )
    return question(approval, team_text)


def _template_values(approval: Approval, event: NewEvent | None) -> Mapping[str, Any]:
    fields = event.model_dump(mode="json") if event else {}
    return {
        **fields,
        "title": approval.title,
        "source": approval.source,
        "severity": approval.severity,
        "correlation_id": approval.correlation_id,
        "emoji": SIGN,
        "data": {
            **fields.get("data", {}),
            "approval_prompt": approval.prompt,
            "options": [option.label for option in approval.options],
            "metadata": approval.metadata,
        },
    }


def question(approval: Approval, team_text: Text | None = None) -> BotMessage:
    """The question with its buttons.

    Args:
        approval: to be decided.
        team_text: the question by a team's template; ignored unless :func:`is_usable`.
    """
    if team_text is not None and is_usable(team_text, approval):
        text = _how_to_answer(Builder().add(team_text), approval).build()
        return BotMessage((text,), keyboard(approval))
    text = _how_to_answer(_title_and_prompt(approval), approval).build()
    if _fits(approval):
        return BotMessage((text,), keyboard(approval))
    content = f"{approval.title}\n\n{approval.prompt}"
    caption = Builder().text(f"{SIGN} ").bold(approval.title).build()
    assert len(caption.text) <= CAPTION_LIMIT, "a title has 200 characters"  # noqa: S101 - the contract's limit
    file = Document(f"approval-{approval.code}.txt", content.encode(), caption)
    return BotMessage((file, text), keyboard(approval))


def verdict(approval: Approval, shown: Text | None = None) -> BotMessage:
    """The question with its result instead of buttons.

    Args:
        approval: closed.
        shown: the text of the question in the chats; None if it is no longer stored.
    """
    return BotMessage((_with_result(_without_how(approval, shown), approval),))


def progress(approval: Approval, shown: Text | None = None) -> BotMessage:
    """The question with its buttons, and with who has chosen the first option so far.

    Args:
        approval: still open.
        shown: the text of the question in the chats; None if it is no longer stored.
    """
    return BotMessage((_how_to_answer(_without_how(approval, shown), approval).build(),), keyboard(approval))


def progress_of_repeated(approval: Approval) -> BotMessage:
    """:func:`progress` in place of a :func:`repeated_question` or :func:`reminder`: without the prompt."""
    out = Builder().text(f"{SIGN} ").bold("Still open: ").bold(approval.title)
    return BotMessage((_how_to_answer(out, approval).build(),), keyboard(approval))


def _without_how(approval: Approval, shown: Text | None) -> Builder:
    """The question as it was sent first, without the lines that say how to answer."""
    # The zone of a chat may have been set since.
    for zone in (approval.time_zone, DEFAULT_ZONE):
        how = _how_to_answer(Builder(), replace(approval, votes=(), time_zone=zone)).build().text
        if shown is not None and shown.text.endswith(how):
            return Builder().add(remove_suffix(shown, how))
    return _title_and_prompt(approval)


def repeated_question(approval: Approval, since: float, until: float, reply_to: int | None) -> BotMessage:
    """The question once more, after an outage in which taps may have been lost.

    Args:
        approval: still open.
        since: when the bot last received updates, seconds since the epoch.
        until: when it received updates again.
        reply_to: Telegram's id of the first question in this chat.
    """
    out = Builder().text(f"{SIGN} ").bold("Still open: ").bold(approval.title)
    begin, end = (date_and_time(at, approval.time_zone) for at in (since, until))
    out.text(f"\n\nNothing was heard from Telegram between {begin} and {end}.")
    out.text(" What was answered then may be lost: please answer again.")
    return BotMessage((_how_to_answer(out, approval).build(),), keyboard(approval), reply_to)


def reminder(approval: Approval) -> BotMessage:
    """The question once more, in short, because it is not decided."""
    out = (
        Builder()
        .text(f"{SIGN} ")
        .bold("Not decided yet: " if approval.votes else "Not answered yet: ")
        .bold(approval.title)
    )
    out.text(f"\n\nAsked at {date_and_time(approval.created_at, approval.time_zone)}.")
    return BotMessage((_how_to_answer(out, approval).build(),), keyboard(approval))


def verdict_of_repeated(approval: Approval) -> BotMessage:
    """The verdict in place of a :func:`repeated_question`: without the prompt."""
    return BotMessage((_with_result(Builder().text(f"{SIGN} ").bold(approval.title), approval),))


def _title_and_prompt(approval: Approval) -> Builder:
    out = Builder().text(f"{SIGN} ").bold(approval.title)
    if approval.prompt == approval.title:
        return out  # `cct ask TITLE` has no other prompt.
    out.text("\n\n")
    if _fits(approval):
        return out.text(approval.prompt)
    length = len(approval.prompt)
    return out.text(f"The question has {length} characters, too many for a message. ").bold(
        f"Read it whole in the file approval-{approval.code}.txt above."
    )


def is_usable(team_text: Text, approval: Approval) -> bool:
    """Whether a team's text shows the whole prompt and leaves room for the verdict."""
    return (
        approval.prompt.strip() in team_text.text
        and len(team_text.text) + _ROOM_FOR_VERDICT <= MESSAGE_LIMIT
        and len(team_text.entities) + _OUR_ENTITIES <= ENTITY_LIMIT
    )


def _fits(approval: Approval) -> bool:
    return len(approval.title) + len(approval.prompt) + _ROOM_FOR_VERDICT <= MESSAGE_LIMIT


def _how_to_answer(out: Builder, approval: Approval) -> Builder:
    progress = progress_line(approval)
    out.text(f"\n\n{progress}" if progress else "")
    out.text(f"\n\nUntil {date_and_time(approval.expires_at, approval.time_zone)}. ")
    if approval.text_limit is not None:
        out.italic(f"Reply with a text of at most {approval.text_limit} characters, or send ")
        return out.code(f"/approve {approval.code} TEXT")
    return out.italic("Tap, reply with an option, or send ").code(f"/approve {approval.code} OPTION")


def _with_result(out: Builder, approval: Approval) -> Text:
    return out.text("\n\n").bold(result_line(approval)).build()


def keyboard(approval: Approval) -> Mapping[str, Any] | None:
    """The buttons as an inline keyboard of the Bot API: two in a row if all are short; None without."""
    if not approval.options:
        return None
    buttons = [
        {"text": _button_text(option, index), "callback_data": button_data(approval.token, index)}
        for index, option in enumerate(approval.options)
    ]
    width = 2 if all(len(option.label) <= _NARROW for option in approval.options) else 1
    return {"inline_keyboard": [buttons[i : i + width] for i in range(0, len(buttons), width)]}


def _button_text(option: Option, index: int) -> str:
    """The label; of one that shows nothing, which Telegram refuses, the option's number."""
    return str(index + 1) if is_blank(option.label) else option.label
