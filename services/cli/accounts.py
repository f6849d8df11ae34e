"""The name of the person at the terminal."""

import getpass


def name() -> str:
    """The name of the account; empty if the machine knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
