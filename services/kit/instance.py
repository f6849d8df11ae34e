"""The name of this process among all that share a database or a rate limit."""

import os

import uuid_utils


def instance_name() -> str:
    """Returns a name that no other process has or had: host, process id and a new UUIDv7."""
    return f"{os.uname().nodename}-{os.getpid()}-{uuid_utils.uuid7()}"
