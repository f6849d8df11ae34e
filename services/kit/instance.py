"""A unique name for this process, among replicas that share a database or a rate limit."""

import os

import uuid_utils


def instance_name() -> str:
    """A name that no other process has or had: host, process id and a new UUIDv7."""
    return f"{os.uname().nodename}-{os.getpid()}-{uuid_utils.uuid7()}"
