"""Which taps and commands are about incidents: alert-relay handles those of the bridge's bot too. Pure."""

#: Data of the buttons of incidents begin so.
DATA_PREFIX = "inc:"
#: Data of the buttons of maintenance windows begin so.
MAINTENANCE_PREFIX = "mnt:"
#: Commands about incidents, with their descriptions for the menu.
COMMANDS = {
    "incidents": "the open incidents",
    "maintenance": "hold alerts back for a while: /maintenance 2h service=api",
}


def is_button(data: str) -> bool:
    """Whether a button with this data is one of an incident, or of a maintenance window."""
    return data.startswith((DATA_PREFIX, MAINTENANCE_PREFIX))
