"""The bot's answer to a command, or a message of its own, as it is stored in an outbox event. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from services.outbox.messages import Rendered, Text


class BotAnswer(BaseModel):
    """A text with entities, and Telegram's id of the message that it answers; None: it answers none.

    ``keyboard``: the buttons below it; None: it has none.
    """

    text: str
    entities: list[dict[str, Any]]
    reply_to: int | None = None
    keyboard: dict[str, Any] | None = None


def to_json(text: Text, reply_to: int | None = None, keyboard: Mapping[str, Any] | None = None) -> str:
    entities = [dict(each) for each in text.entities]
    return BotAnswer(
        text=text.text,
        entities=entities,
        reply_to=reply_to,
        keyboard=None if keyboard is None else dict(keyboard),
    ).model_dump_json()


def rendered(body: str) -> Rendered:
    """Returns the content that Telegram gets."""
    answer = BotAnswer.model_validate_json(body)
    return Rendered(
        (Text(answer.text, tuple(answer.entities)),), reply_to=answer.reply_to, reply_markup=answer.keyboard
    )
