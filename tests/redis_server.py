"""Redis for tests: the real server, on a free port."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.ports import free_port


@dataclass
class RedisServer:
    """A server that can be killed and comes back empty."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server") or "redis-server"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    async def answers(self) -> bool:
        with Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def keys(self) -> list[str]:
        with Redis.from_url(self.url, decode_responses=True) as client:
            return sorted(client.keys())

    def seconds_left(self, key: str) -> int:
        """Seconds until a key expires."""
        with Redis.from_url(self.url) as client:
            return int(client.ttl(key))


@contextmanager
def running(folder: Path) -> Iterator[RedisServer]:
    """A server that runs for the length of the block.

    Args:
        folder: that it writes to.
    """
    server = RedisServer(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()
