"""Characters that Telegram replaces, removes, or does not show (TDLib, misc.cpp and MessageEntity.cpp)."""

import re

REMOVED = frozenset(
    {*range(0x2028, 0x202F), 0x0D, 0x333, 0x33F, 0x30A}
)  # separators, directions, combining lines
SPACED = {code: " " for code in range(32) if code not in (0x0A, 0x0D)}
CLEANED: dict[int, str | None] = {**SPACED, **dict.fromkeys(REMOVED)}
CONTROL = re.compile(f"[{''.join(map(chr, CLEANED))}]")
LONGEST = 35_000  # bytes of one string
#: Runs of left-to-right and right-to-left marks, of which only the last one stays.
MARKS = re.compile("[\u200e\u200f]{2,}")
#: Characters that show nothing.
BLANK = (
    # replaced by spaces
    "\u1680\u180e\u2000-\u200a\u202e\u202f\u205f\u2800\u3000\ufffc\U000e0000-\U000e007f"
    " \t\r\n\0\v"  # trimmed
    "\u200b-\u200f\ufeff\u00a0"  # not counted
)
NOTHING = re.compile(f"[{BLANK}]*")


def cleaned(text: str) -> str:
    """Replaces control characters by spaces and removes what Telegram removes; cuts an endless text."""
    text = text.translate(CLEANED)
    data = text.encode()
    end = LONGEST - 4
    while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004 # within a character
        end += 1
    return single_marks(data[:end].decode())


def single_marks(text: str) -> str:
    return MARKS.sub(lambda run: "\u200c" * (len(run[0]) - 1) + run[0][-1], text)


def is_empty(text: str) -> bool:
    """Returns whether Telegram refuses the text because it would show nothing."""
    return NOTHING.fullmatch(text) is not None
