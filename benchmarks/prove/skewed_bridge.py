"""``python -m services.bridge`` with a wall clock that the proof sets: an offset in the file ``PROOF_CLOCK``.

Everything the bridge does is timed by the clock that it is given; this is the real one, set wrong. As in
life the monotonic clock does not jump, and neither do the clocks of PostgreSQL and of Telegram.
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
    """The system's clock and an offset, seconds, that another process writes."""

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
    """Sets the offset; a bridge that runs sees it at its next look."""
    with file.open("r+b" if file.exists() else "wb", buffering=0) as offset:
        offset.write(OFFSET.pack(seconds))


if __name__ == "__main__":
    main(create_skewed, BridgeSettings)
