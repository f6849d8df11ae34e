"""A Redis server of its own for each test that needs one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, running
from tests.servers import until


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    with running(tmp_path) as server:
        await until(server.answers)
        yield server
