"""Downloads of files from a Bot API server that may send anything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from telegram.error import TelegramError

from services.outbox.telegram import downloads
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.errors import BadAnswerError, NoAnswerError, NotReachedError
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.telegram.raw_server import Answer, Server, serving, writes
from tests.ports import free_port

PATH = b'{"ok":true,"result":{"file_id":"F","file_path":"documents/plan 1.pdf"}}'


def http(body: bytes, status: bytes = b"200 OK", *, length: int | None = None, more: bytes = b"") -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, size, more, body)


@asynccontextmanager
async def answering(*answers: Answer) -> AsyncIterator[Server]:
    async with serving() as server:
        server.answers = list(answers)
        yield server


async def downloaded(url: str) -> tuple[int | None, bytes]:
    async with make_bot(DEFAULT_TOKEN, url, 1) as bot:
        download = await bot.download("F")
        try:
            return download.size, b"".join([piece async for piece in download.pieces()])
        finally:
            download.close()


async def test_the_file_is_read_from_its_path_under_the_tokens_url() -> None:
    async with answering(writes(http(PATH)), writes(http(b"%PDF"))) as server:
        assert await downloaded(server.url) == (4, b"%PDF")
        first_lines = [head.partition(b"\r\n")[0] for head in server.heads]
    assert first_lines == [
        b"POST /bot%b/getFile HTTP/1.1" % DEFAULT_TOKEN.encode(),
        b"GET /file/bot%b/documents/plan%%201.pdf HTTP/1.1" % DEFAULT_TOKEN.encode(),
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (writes(http(b"", b"404 Not Found")), BadAnswerError),
        (writes(http(b"", b"302 Found", more=b"Location: http://127.0.0.1:1/\r\n")), BadAnswerError),
        (writes(http(b"%PDF", length=9), then_close=True), NoAnswerError),
        (writes(then_close=True), NoAnswerError),
        (writes(b"\0\1\2", then_close=True), NoAnswerError),
    ],
    ids=["missing", "a redirect", "cut off", "closed", "no HTTP"],
)
async def test_a_download_that_fails_is_an_error_without_the_token(
    answer: Answer, error: type[TelegramError]
) -> None:
    async with answering(writes(http(PATH)), answer) as server:
        with pytest.raises(error) as failed:
            await downloaded(server.url)
    assert "token" not in str(failed.value.message)
    assert len(server.heads) == 2


async def test_a_server_that_stops_sending_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0.1)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with answering(writes(http(PATH)), writes(head, b"%PDF")) as server:
        with pytest.raises(NoAnswerError, match="did not come to its end"):
            await downloaded(server.url)


async def test_a_file_larger_than_any_of_telegram_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LARGEST_FILE", 3)
    async with answering(writes(http(PATH)), writes(http(b"%PDF"))) as server:
        with pytest.raises(BadAnswerError, match="larger than 3 bytes"):
            await downloaded(server.url)


async def test_a_compressed_file_has_no_size_before_it_is_read() -> None:
    packed = b"\x78\x9c\x53\x0d\x70\x71\x03\x00\x02\x92\x01\x16"
    answer = http(packed, more=b"Content-Encoding: identity\r\n")
    async with answering(writes(http(PATH)), writes(answer)) as server:
        assert await downloaded(server.url) == (None, packed)


async def test_a_server_that_is_not_there_is_not_reached() -> None:
    with pytest.raises(NotReachedError):
        await downloaded(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"file_path": 7},
        {"file_path": ""},
        {"file_path": "/var/lib/telegram-bot-api/1:token/documents/file_0.pdf"},
        {"file_path": "documents/../../bot1:other/getMe"},
        {"file_path": "./documents"},
        {"file_path": "http://127.0.0.1/secret"},
        {"file_path": "//127.0.0.1/secret"},
        {"file_path": "documents\\file"},
        {"file_path": "documents/a\nb"},
        {"file_path": "d/" + "x" * downloads.LONGEST_PATH},
    ],
    ids=str,
)
def test_a_path_that_leaves_the_file_url_is_refused(result: Any) -> None:
    with pytest.raises(BadAnswerError):
        downloads.path_of(result)


def test_a_path_is_quoted() -> None:
    assert downloads.path_of({"file_path": "documents/a?b#c%2e.pdf"}) == "documents/a%3Fb%23c%252e.pdf"
    assert downloads.path_of({"file_path": "documents/план.pdf"}) == (
        "documents/%D0%BF%D0%BB%D0%B0%D0%BD.pdf"
    )
