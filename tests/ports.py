"""Ports for the programs that the tests start."""

import itertools
import os
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nobody listens on, and that no other test run in parallel is given.

    Not one that the system picks: those are also given to outgoing connections, any moment later.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")
    first = 20_000 + 1_000 * (int(worker) % 10)
    for port in itertools.islice(_PORTS, 1_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", first + port))
            return first + port
    raise RuntimeError(f"no port is free from {first} on")


# Starts anywhere: two runs on one machine should not ask for the same ports at the same time.
_PORTS = itertools.cycle((number + os.getpid()) % 1_000 for number in range(1_000))
