"""A server that answers byte for byte, and a certificate for it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.outbox.telegram import certificates, raw_server
from tests.outbox.telegram.certificates import Certificate
from tests.outbox.telegram.raw_server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with raw_server.serving() as running:
        yield running


@pytest.fixture(scope="session")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def secure(localhost: Certificate) -> AsyncIterator[Server]:
    async with raw_server.serving(localhost.context()) as running:
        yield running


@pytest.fixture
def trusted(localhost: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost.certificate))
    yield
    monkeypatch.undo()
