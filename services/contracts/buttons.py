"""Buttons below a message: rows of links, and of buttons whose taps the client gets."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import to_json

from services.contracts.fields import Strict, Visible, WebUrl, about, storable

#: Telegram's limits.
MOST_BUTTONS = 100
MOST_IN_A_ROW = 8
LONGEST_ANSWER = 200
#: Bytes of all buttons as JSON; Telegram refuses about 10,240.
LARGEST_KEYBOARD = 9_500
#: Bytes of the reference that a button with data has in Telegram.
_REFERENCE = 64


class Button(Strict):
    """A button: with `url` it opens a page, with `data` a tap on it is reported to the client."""

    text: Annotated[Annotated[str, storable(64, 1), Visible], about("text of the button", "Open the log")]
    url: Annotated[
        WebUrl | None,
        about("page that it opens", "https://ci.example/7"),
    ] = None
    data: Annotated[
        Annotated[str, storable(256, 1)] | None,
        about("the client's own value, in the response and the webhook of a tap", "retry:7"),
    ] = None
    answer: Annotated[
        Annotated[str, storable(LONGEST_ANSWER)] | None,
        about("text that the person sees after a tap; default: Noted.", "The build starts again"),
    ] = None

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        if (self.url is None) == (self.data is None):
            raise ValueError("a button has either url or data")
        if self.url is not None and self.answer is not None:
            raise ValueError("only a button with data has an answer")
        return self


def _fitting(rows: list[list[Button]]) -> list[list[Button]]:
    if sum(map(len, rows)) > MOST_BUTTONS:
        raise ValueError(f"more than {MOST_BUTTONS} buttons")
    sizes = [_size(button) for row in rows for button in row]
    if sum(sizes) > LARGEST_KEYBOARD:
        raise ValueError(f"the buttons have {sum(sizes)} bytes; Telegram takes {LARGEST_KEYBOARD}")
    return rows


def _size(button: Button) -> int:
    shown = (
        {"text": button.text, "url": button.url} if button.url else {"text": button.text, "callback_data": ""}
    )
    return len(to_json(shown)) + (0 if button.url else _REFERENCE) + len(",[]")


Row = Annotated[list[Button], Field(min_length=1, max_length=MOST_IN_A_ROW)]
#: Rows of buttons, within Telegram's limits.
Buttons = Annotated[list[Row], Field(max_length=MOST_BUTTONS), AfterValidator(_fitting)]
