"""A question as people read it: in ours, or in a team's own words where these show all of it."""

import structlog

from services.bridge.approvals import question_text
from services.bridge.approvals.approval import Approval
from services.bridge.bot_messages import Said
from services.bridge.events.templates import Templates, worded
from services.contracts.events import NewEvent

log = structlog.get_logger()

#: Only the template of this type is asked: one for every type may leave out what is decided on.
KIND = "approval_request"


def words(templates: Templates | None, asked: Approval, posted: NewEvent | None = None) -> Said:
    """The question with its buttons.

    Args:
        templates: of the team.
        asked: the question.
        posted: the event that asks it, where one does; its fields are the template's too.
    """
    if templates is None or not templates.words_itself(KIND):
        return question_text.question(asked)
    event = posted.model_dump(mode="json") if posted else {}
    values = {
        **event,
        "title": asked.title,
        "source": asked.source,
        "severity": asked.severity,
        "correlation_id": asked.correlation_id,
        "emoji": question_text.SIGN,
        "data": {
            **event.get("data", {}),
            "approval_prompt": asked.prompt,
            "options": [option.label for option in asked.options],
            "metadata": asked.metadata,
        },
    }
    theirs = worded(templates, KIND, values, asked.id)
    if theirs is not None and not question_text.is_whole(theirs, asked):
        log.warning(
            "template_not_used", about=asked.id, reason="the whole question is not in it, or too much"
        )
    return question_text.question(asked, theirs)
