"""Parses a text into a command. Pure."""

import re
from dataclasses import dataclass

_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]+))?(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``/name@to argument``."""

    name: str
    argument: str = ""
    to: str | None = None  #: username of the bot that it names

    def is_for_another_bot(self, username: str | None) -> bool:
        """Whether it names another bot than the one with this username; None: that is not known yet."""
        return bool(self.to and username and self.to.lower() != username.lower())


def parse_command(text: str) -> Command | None:
    """The command in a text; None if the text is not a command."""
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return None
    name, to, argument = found.groups()
    return Command(name.lower(), (argument or "").strip(), to)
