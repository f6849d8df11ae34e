"""What questions have in common, whether they are asked by an approval or by an event."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from services.contracts.fields import LARGEST_INT, NoBool
from services.contracts.times import lifetime

SHORTEST_LIFE_SECONDS = 5.0
LONGEST_LIFE_SECONDS = 30 * 86_400.0
MOST_APPROVERS = 100
SHORTEST_REMINDER_SECONDS = 30.0
MOST_REMINDERS = 100
#: A message of a person has at most 4,096 characters; the command /approve needs some of them.
LONGEST_TEXT = 4_000
#: How often a question is asked again, and the longest text that answers it, where nothing else is given.
DEFAULT_REMINDERS, DEFAULT_TEXT = 3, 1_000

UserId = Annotated[int, Field(ge=1, le=LARGEST_INT), NoBool]
People = Annotated[list[UserId], Field(min_length=1, max_length=MOST_APPROVERS)]
AnswerKind = Literal["option", "text"]
TextLength = Annotated[int, Field(ge=1, le=LONGEST_TEXT), NoBool]
PeopleNeeded = Annotated[int, Field(ge=1, le=MOST_APPROVERS), NoBool]
ReminderInterval = Annotated[float, *lifetime(SHORTEST_REMINDER_SECONDS, LONGEST_LIFE_SECONDS)]
ReminderCount = Annotated[int, Field(ge=1, le=MOST_REMINDERS), NoBool]
EscalationDelay = Annotated[float, *lifetime(SHORTEST_LIFE_SECONDS, LONGEST_LIFE_SECONDS)]

#: What the fields are, for the documents of both.
ANSWER_HELP = "what people answer with: one of the `options`, or a text in their own words"
MAX_LENGTH_HELP = "longest text that is taken as the answer, in characters; with `answer: text` only"
NEEDED_HELP = (
    "number of different people who must choose the first option, at most the number of approvers;"
    " any other option decides at once"
)
REMIND_EVERY_HELP = "ask again after each such time without an answer: a duration, or seconds"
REMIND_TIMES_HELP = "how often it is asked again"
ESCALATE_AFTER_HELP = "without an answer for so long, ask `escalate_to` as well: a duration, or seconds"
ESCALATE_TO_HELP = "people who may decide from then on, among the bot's allowed users"


def contradiction(given: Mapping[str, object]) -> tuple[str, str] | None:
    """The first fields of a question that do not go together: one of them, and why; None if all do.

    Args:
        given: the fields that the client gave, of those above and ``options``.
    """
    needed = given.get("needed")
    if ("escalate_after" in given) != ("escalate_to" in given):
        field = "escalate_after" if "escalate_after" in given else "escalate_to"
        return field, "give escalate_after and escalate_to together"
    if "remind_times" in given and "remind_every" not in given:
        return "remind_times", "remind_times needs remind_every"
    if given.get("answer") == "text" and ("options" in given or (isinstance(needed, int) and needed > 1)):
        return "answer", "a question that is answered by a text has no options, and needed is 1"
    if given.get("answer", "option") == "option" and "max_length" in given:
        return "max_length", "max_length needs answer: text"
    return None
