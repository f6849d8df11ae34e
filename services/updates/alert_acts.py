"""Which taps and commands are about incidents: alert-relay handles those of the bridge's bot too. Pure."""

#: Data of the buttons of incidents begin so.
DATA_PREFIX = "inc:"
#: Commands about incidents, with their descriptions for the menu.
COMMANDS = {"incidents": "the open incidents"}


def is_button(data: str) -> bool:
    """Whether a button with this data is one of an incident."""
    return data.startswith(DATA_PREFIX)
