"""The whole command line: all commands, and how a run ends."""

import os
import sys

from services.cli.command import root
from services.cli.commands import (
    ask,
    chats,
    doctor,
    export,
    incidents,
    keys,
    maintenance,
    messages,
    routes,
    send,
    setup,
    status,
    targets,
    templates,
    trial,
    watch,
)

#: Each registers its commands when it is imported.
COMMANDS = (
    *(setup, trial, send, ask, watch, messages, export, incidents, maintenance, targets),
    *(keys, chats, routes, templates, status, doctor),
)


def run() -> None:
    """Runs the command line of this process; a closed pipe, as of `head`, is no error."""
    try:
        root(prog_name="cct")
    except BrokenPipeError:
        # Python would write to the pipe again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
