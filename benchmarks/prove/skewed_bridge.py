"""``python -m services.bridge`` with a skewed wall clock: the file ``PROOF_CLOCK`` contains its offset.

The bridge reads all times from the clock that it is passed. Only its wall clock jumps: the monotonic clock
and the clocks of PostgreSQL and Telegram do not.
"""

import mmap
import os
import struct
import time
from pathlib import Path

from fastapi import FastAPI

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit.runner import main

OFFSET = struct.Struct("d")


class SkewedClock:
    """The system's clock plus an offset in seconds that another process writes.

    Args:
        file: with the offset, as :func:`set_clock` writes it.
    """

    def __init__(self, file: Path) -> None:
        with file.open("rb") as offset:
            self._offset = mmap.mmap(offset.fileno(), OFFSET.size, access=mmap.ACCESS_READ)

    def time(self) -> float:
        return float(time.time() + OFFSET.unpack(self._offset[:])[0])

    def monotonic(self) -> float:
        return time.monotonic()


def create_skewed(settings: BridgeSettings) -> FastAPI:
    return create_app(settings, SkewedClock(Path(os.environ["PROOF_CLOCK"])))


def set_clock(file: Path, seconds: float) -> None:
    """Writes the offset in seconds; a running bridge uses it from its next reading of the clock on."""
    with file.open("r+b" if file.exists() else "wb", buffering=0) as offset:
        offset.write(OFFSET.pack(seconds))


if __name__ == "__main__":
    main(create_skewed, BridgeSettings)
