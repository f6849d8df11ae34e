"""Free ports for the programs that tests start."""

import itertools
import os
import socket
from contextlib import suppress


def free_port() -> int:
    """Returns a free port that no parallel worker gets.

    Ports chosen by the system are avoided: an outgoing connection may get the same one a moment later.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")
    first = 20_000 + 1_000 * (int(worker) % 10)
    for port in itertools.islice(_PORTS, 1_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", first + port))
            return first + port
    raise RuntimeError(f"no port from {first} on is free")


# Starts at a different place in each process, so that two runs on one machine do not try the same ports.
_PORTS = itertools.cycle((number + os.getpid()) % 1_000 for number in range(1_000))
