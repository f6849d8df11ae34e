"""Photos, audio, video, animations, voice messages and albums, refused in Telegram's words."""

from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from telegram import Bot, InputMediaDocument, InputMediaPhoto

from services.telegram_sandbox.settings import DEFAULT_TOKEN, SandboxSettings
from tests import images
from tests.telegram_sandbox.conftest import ADA, SandboxServer, started

MOST = "the maximum size is 10485760 bytes"


async def upload(
    server: SandboxServer, method: str, files: dict[str, tuple[str, bytes]], **fields: Any
) -> dict[str, Any]:
    """A call with files; returns the whole answer."""
    form = aiohttp.FormData()
    for name, value in ({"chat_id": str(ADA)} | fields).items():
        form.add_field(name, value if isinstance(value, str) else orjson.dumps(value).decode())
    for name, (filename, content) in files.items():
        form.add_field(name, BytesIO(content), filename=filename)
    async with server.http.post(f"{server.url}/bot{DEFAULT_TOKEN}/{method}", data=form) as answer:
        body: dict[str, Any] = await answer.json()
        return body


async def refusal(
    server: SandboxServer, method: str, files: dict[str, tuple[str, bytes]], **fields: Any
) -> str:
    body = await upload(server, method, files, **fields)
    assert body["error_code"] == 400, body
    return str(body["description"])


async def test_a_photo_has_its_size_and_can_be_sent_again_by_its_id(server: SandboxServer, bot: Bot) -> None:
    sent = await bot.send_photo(ADA, images.png(64, 48), caption="A plot", has_spoiler=True)
    (photo,) = sent.photo
    assert (photo.width, photo.height, sent.caption, sent.has_media_spoiler) == (64, 48, "A plot", True)
    again = await bot.send_photo(ADA, photo.file_id)
    assert again.photo[0].file_id == photo.file_id
    assert await (await bot.get_file(photo.file_id)).download_as_bytearray() == images.png(64, 48)


async def test_the_other_kinds_are_sent_as_what_they_are(bot: Bot) -> None:
    audio = await bot.send_audio(ADA, b"ID3\4music", filename="song.mp3")
    video = await bot.send_video(ADA, images.mp4(), filename="clip.mp4")
    animation = await bot.send_animation(ADA, b"GIF89a\x08\0\x08\0", filename="cat.gif")
    voice = await bot.send_voice(ADA, b"OggS\0voice")
    assert audio.audio is not None
    assert audio.audio.file_name == "song.mp3"
    assert video.video is not None
    assert video.video.file_size == len(images.mp4())
    assert animation.animation is not None
    assert (animation.animation.width, animation.document is not None) == (8, True)
    assert voice.voice is not None
    assert voice.voice.mime_type == "audio/ogg"


@pytest.mark.parametrize("kind", ["photo", "audio", "video", "animation", "voice"])
async def test_a_call_without_its_file_is_refused(server: SandboxServer, kind: str) -> None:
    method = f"send{kind.capitalize()}"
    assert await refusal(server, method, {}) == f"Bad Request: there is no {kind} in the request"
    assert await refusal(server, method, {kind: ("a", b"")}) == "Bad Request: file must be non-empty"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no image at all", "Bad Request: IMAGE_PROCESS_FAILED"),
        (images.png(9_000, 1_001), "Bad Request: PHOTO_INVALID_DIMENSIONS"),
        (images.png(10, 201), "Bad Request: PHOTO_INVALID_DIMENSIONS"),
        (
            images.png(padding=10 << 20),
            f"Bad Request: file of size {(10 << 20) + 80} bytes is too big for a photo; {MOST}",
        ),
    ],
    ids=["no image", "large", "long", "heavy"],
)
async def test_what_is_no_photo_is_refused(server: SandboxServer, content: bytes, words: str) -> None:
    assert await refusal(server, "sendPhoto", {"photo": ("a.png", content)}) == words
    assert (await upload(server, "sendDocument", {"document": ("a.png", content)}))["ok"]


async def test_an_album_is_one_message_for_each_file_with_one_id(server: SandboxServer, bot: Bot) -> None:
    sent = await bot.send_media_group(
        ADA, [InputMediaPhoto(images.png(8, 8), caption="Both"), InputMediaPhoto(images.png(9, 9))]
    )
    assert len({message.media_group_id for message in sent}) == 1
    assert [message.photo[0].width for message in sent] == [8, 9]
    assert [message.caption for message in sent] == ["Both", None]
    calls = await server.log(kind="call", method="sendMediaGroup")
    assert [call["message_id"] for call in calls] == [message.message_id for message in sent]
    documents = await bot.send_media_group(
        ADA, [InputMediaDocument(b"a", filename="a.txt"), InputMediaDocument(b"b", filename="b.txt")]
    )
    assert [message.document.file_name for message in documents if message.document] == ["a.txt", "b.txt"]


PHOTO, PLOT = {"type": "photo", "media": "attach://a"}, {"a": ("a.png", images.png(8, 8))}


@pytest.mark.parametrize(
    ("media", "words"),
    [
        ("", 'parameter "media" is required'),
        ("{", "can't parse media JSON object"),
        ({}, "expected an Array of InputMedia"),
        ([], "there are no messages to send"),
        ([PHOTO] * 11, "too many messages to send as an album"),
        ([7], "can't parse InputMedia: expected an Object"),
        (
            [PHOTO | {"type": "animation"}],
            "can't parse InputMedia: type \"animation\" can't be used in sendMediaGroup",
        ),
        ([PHOTO | {"type": "card"}], 'can\'t parse InputMedia: type "card" is unsupported'),
        ([PHOTO | {"media": "attach://b"}], "can't parse InputMedia: media not found"),
        ([PHOTO, PHOTO | {"type": "document"}], "document can't be mixed with other media types"),
        ([PHOTO | {"type": "audio"}, PHOTO], "audio can't be mixed with other media types"),
        ([PHOTO, PHOTO | {"caption": "x" * 1_025}], "message caption is too long"),
    ],
)
async def test_a_wrong_album_is_refused_and_nothing_is_sent(
    server: SandboxServer, media: Any, words: str
) -> None:
    assert await refusal(server, "sendMediaGroup", PLOT, media=media) == f"Bad Request: {words}"
    assert not [call for call in await server.log(kind="call") if call["delivered"]]


async def test_a_refused_photo_of_an_album_is_named_by_its_place(server: SandboxServer) -> None:
    media = [PHOTO, PHOTO | {"media": "attach://b"}]
    files = PLOT | {"b": ("b.png", images.png(10, 201))}
    words = await refusal(server, "sendMediaGroup", files, media=media)
    assert words == 'Bad Request: failed to send message #2 with the error message "PHOTO_INVALID_DIMENSIONS"'
    assert not [call for call in await server.log(kind="call") if call["delivered"]]


async def test_photos_survive_a_restart(settings: SandboxSettings, tmp_path: Path) -> None:
    async with started(settings) as server, server.bot() as bot:
        sent = await bot.send_photo(ADA, images.png(8, 8))
    async with started(settings) as server, server.bot() as bot:
        again = await bot.send_photo(ADA, sent.photo[0].file_id)
        assert again.photo[0].width == 8


async def test_the_page_reads_images_as_images_and_nothing_else(server: SandboxServer, bot: Bot) -> None:
    await bot.send_photo(ADA, images.png(8, 8))
    await bot.send_document(ADA, b"<script>alert(1)</script>", filename="page.html")
    shown = (await server.get(f"/api/chats/{ADA}/messages"))["messages"]
    assert [(one["file"]["kind"], one["file"]["name"]) for one in shown] == [
        ("photo", "photo.jpg"),
        ("document", "page.html"),
    ]
    types = []
    for one in shown:
        async with server.http.get(server.url + one["file"]["url"]) as answer:
            types.append(answer.headers["Content-Type"])
            assert answer.headers["Content-Disposition"].startswith("attachment")
    assert types == ["image/png", "application/octet-stream"]
