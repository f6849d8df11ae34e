"""Which taps and commands are about incidents: alert-relay handles them, whoever receives them. Pure."""

from services.updates.parse import ParsedUpdate, Tap, TextMessage

#: Data of the buttons of incidents begin so.
DATA_PREFIX = "inc:"
#: Commands about incidents, with their descriptions for the menu.
COMMANDS = {"incidents": "the open incidents"}


def is_about_incidents(parsed: ParsedUpdate) -> bool:
    """Whether alert-relay handles the update."""
    if isinstance(parsed, Tap):
        return parsed.data.startswith(DATA_PREFIX)
    return isinstance(parsed, TextMessage) and command_name(parsed.text) in COMMANDS


def command_name(text: str) -> str:
    """Returns the name of a command such as ``/incidents@my_bot``, in lower case; empty if it is none."""
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    return first[1:].partition("@")[0].lower() if first.startswith("/") else ""
