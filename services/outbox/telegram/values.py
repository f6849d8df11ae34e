"""Values of Telegram from JSON, checked for type and bounds. Pure.

The column types, the API and JavaScript take integers of 64 bits or less. A value outside these bounds is
refused where it is read, so that nothing behind this point meets one.
"""

from typing import Any

#: Telegram's ids have at most 52 significant bits (Bot API, "Chat", "User"); those of groups are negative.
LARGEST_ID = 2**53


def integer(value: Any, lowest: int, highest: int) -> int:
    """Returns an integer within bounds.

    Raises:
        ValueError: the value is no integer, or out of bounds.
    """
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(f"not an integer from {lowest} to {highest}")
    return value


def positive_id(value: Any) -> int:
    """Returns the id of a message, a person or a topic.

    Raises:
        ValueError: the value is none.
    """
    return integer(value, 1, LARGEST_ID)


def chat_id(value: Any) -> int:
    """Returns the id of a chat: positive for a person, negative for a group or channel.

    Raises:
        ValueError: the value is none.
    """
    found = integer(value, -LARGEST_ID, LARGEST_ID)
    if not found:
        raise ValueError("no chat has the id 0")
    return found


def group_id(value: Any) -> int:
    """Returns the id of a group, supergroup or channel, which is negative.

    Raises:
        ValueError: the value is none.
    """
    return integer(value, -LARGEST_ID, -1)


def text(value: Any, longest: int) -> str:
    """Returns a text of at most so many characters; a longer one is cut.

    NUL is replaced, since PostgreSQL cannot store it.

    Raises:
        ValueError: the value is no text.
    """
    if type(value) is not str:
        raise ValueError("not a text")
    return value[:longest].replace("\0", "\N{REPLACEMENT CHARACTER}")


def optional_text(value: Any, longest: int) -> str | None:
    """Returns :func:`text` of a value, or None where it is missing.

    Raises:
        ValueError: the value is neither a text nor missing.
    """
    return None if value is None else text(value, longest)
