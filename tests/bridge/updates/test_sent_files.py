"""Files of people are responses; their content is fetched from Telegram when it is read."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import orjson

from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.bridge.people import ADA, GRACE, MALLORY, TEAM, Bridge, People, bridge_of, text_of
from tests.bridge.updates.test_responses import responded
from tests.conftest import BridgeFactory
from tests.images import pdf, png
from tests.servers import KEY

ALERTS_TOKEN = "1000000009:another-token-for-the-tests-only"
PHOTO = png(40, 30)


async def file_of(bridge: Bridge, response: dict[str, Any]) -> Any:
    return await bridge.client.get(response["attachment"]["url"])


async def test_a_photo_that_replies_is_a_response_with_its_caption_and_its_file(
    talk: Bridge, people: People
) -> None:
    posted = await talk.post(title="Print failed", correlation_id="print-7")
    shown = await people.until_text(ADA, "Print failed")
    await talk.until_message(posted["message_ids"][0], "delivered")
    await people.send_file(ADA, "photo", PHOTO, "the nozzle", reply_to=shown["message_id"])
    (response,) = await responded(talk, 1, correlation_id="print-7")
    assert (response["kind"], response["text"]) == ("reply", "the nozzle")
    assert response["in_reply_to"]["message_id"] == posted["message_ids"][0]
    assert response["attachment"] == {
        "kind": "photo",
        "size": len(PHOTO),
        "media_type": "image/jpeg",
        "filename": None,
        "width": 40,
        "height": 30,
        "duration": None,
        "url": f"/api/v1/responses/{response['id']}/file",
    }
    answer = await file_of(talk, response)
    assert (answer.status_code, answer.content) == (200, PHOTO)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(PHOTO))
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''file.jpg"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_the_commands_of_the_page_read_a_file(quick: Bridge, people: People, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "asking.md").read_text(encoding="utf-8")
    listing, reading = re.findall(r"^curl .*$", page, re.MULTILINE)
    await people.send_file(ADA, "photo", PHOTO)
    (response,) = orjson.loads(await run(listing, quick, tmp_path))["items"]
    await run(reading.replace("01a1fd93-…", response["id"]), quick, tmp_path)
    assert (tmp_path / "photo.jpg").read_bytes() == PHOTO


async def run(command: str, bridge: Bridge, folder: Path) -> bytes:
    """Runs a command of the page, and returns what it printed."""
    url = str(bridge.client.base_url).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", command.replace("http://127.0.0.1:8080", url)),
        cwd=folder,
        env={**os.environ, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def test_files_of_every_kind_are_responses_in_order(quick: Bridge, people: People) -> None:
    await people.send_file(ADA, "document", pdf(), "/help", name="plän.pdf", media_type="application/pdf")
    kinds = ("voice", "audio", "video", "animation", "video_note", "sticker")
    for kind in kinds:
        await people.send_file(ADA, kind, pdf(kind), name="a.bin")
    found = await responded(quick, 7)
    assert [one["attachment"]["kind"] for one in found] == ["document", *kinds]
    assert {one["kind"] for one in found} == {"file"}
    assert [one["text"] for one in found] == ["/help", *[""] * 6]
    assert found[1]["attachment"]["duration"] == 1
    answer = await file_of(quick, found[0])
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''pl%C3%A4n.pdf"
    assert [(await file_of(quick, one)).content for one in found[1:]] == [pdf(kind) for kind in kinds]
    assert len(await people.calls("setMessageReaction")) == 7


async def test_each_bot_reads_its_own_id_of_a_file(bridge_settings: BridgeFactory, people: People) -> None:
    await people.sandbox.post("/bots", {"token": ALERTS_TOKEN})
    bots = {"alerts": {"token": ALERTS_TOKEN, "allowed_users": [ADA]}}
    settings = bridge_settings(telegram_allowed_users=[ADA], telegram_bots=orjson.dumps(bots).decode())
    async with bridge_of(settings) as bridge:
        await people.send_file(ADA, "document", pdf(), name="a.pdf")
        for bot in ("default", "alerts"):
            (response,) = await responded(bridge, 1, bot=bot)
            assert (await file_of(bridge, response)).content == pdf()


async def test_a_caption_answers_a_question_and_a_file_without_one_does_not(
    talk: Bridge, people: People
) -> None:
    asked = await talk.ask(chat_id=ADA, answer="text")
    shown = await people.until_text(ADA, "Deploy 1.4?")
    await people.send_file(ADA, "photo", PHOTO, reply_to=shown["message_id"])
    await people.until_text(ADA, "Please answer in words.")
    (kept,) = await responded(talk, 1)
    assert (kept["in_reply_to"]["approval_id"], kept["outcome"]) == (asked["id"], None)
    assert (await talk.approval(asked["id"]))["status"] == "open"
    await people.send_file(ADA, "photo", PHOTO, "it was blocked", reply_to=shown["message_id"])
    closed = await talk.until_status(asked["id"], "decided")
    assert closed["decision"]["text"] == "it was blocked"
    assert (await responded(talk, 2))[1]["attachment"]["kind"] == "photo"


async def test_a_file_at_a_question_with_buttons_is_kept(quick: Bridge, people: People) -> None:
    asked = await quick.ask(chat_id=ADA)
    shown = await people.question(ADA)
    await people.send_file(ADA, "voice", pdf(), reply_to=shown["message_id"])
    await people.until_text(ADA, "Please answer in words or tap a button.")
    await people.send_file(ADA, "photo", PHOTO, "deny", reply_to=shown["message_id"])
    assert (await quick.until_status(asked["id"], "decided"))["decision"]["option"] == "deny"


async def test_what_is_not_taken_gets_an_answer_where_the_bot_is_addressed(
    quick: Bridge, people: People
) -> None:
    location = {"location": {"latitude": 52.5, "longitude": 13.4}}
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    await people.sandbox.post(f"/chats/{TEAM}/say", location)
    await people.say(TEAM, "/nonsense", person=GRACE)
    await people.sandbox.post(f"/chats/{MALLORY}/say", location)
    await people.until_text(MALLORY, "You are not authorised")
    await people.sandbox.post(f"/chats/{ADA}/say", location)
    answer = await people.until_text(ADA, "I cannot take locations. I take texts, photos")
    assert "/help" in text_of(answer)
    await people.say(TEAM, "/nonsense@sandbox_1000000001_bot", person=GRACE)
    await people.until_text(TEAM, "There is no command /nonsense.")
    mine = [one for one in await people.messages(TEAM) if one["from"]["is_bot"]]
    assert len(mine) == 1
    assert [one["text"] for one in await quick.responses()] == [
        "/nonsense",
        "/nonsense@sandbox_1000000001_bot",
    ]


async def test_a_file_that_cannot_be_had_is_a_problem_that_says_why(quick: Bridge, people: People) -> None:
    await people.send_file(ADA, "document", b"large", name="a.bin", size=(20 << 20) + 1)
    await people.send_file(ADA, "document", pdf(), name="a.pdf")
    await people.say(ADA, "no file")
    large, small, without = await responded(quick, 3)
    refused = await file_of(quick, large)
    assert (refused.status_code, refused.json()["title"]) == (409, "File too large")
    assert "20 MB" in refused.json()["detail"]
    for response_id in (without["id"], "none"):
        missing = await quick.client.get(f"/api/v1/responses/{response_id}/file")
        assert missing.status_code == 404
    for fault, status, words in (
        (
            {"kind": "answer", "status": 400, "description": "Bad Request: invalid file_id"},
            404,
            "invalid file_id",
        ),
        ({"kind": "close"}, 502, "did not give the file"),
        (
            {"kind": "raw", "status": 200, "body": '{"ok":true,"result":{"file_path":"../../etc"}}'},
            502,
            "path",
        ),
        (
            {"kind": "raw", "status": 200, "body": '{"ok":true,"result":{"file_path":"documents/none"}}'},
            502,
            "404",
        ),
    ):
        await people.sandbox.post("/faults", fault | {"methods": ["getFile"]})
        failed = await file_of(quick, small)
        assert (failed.status_code, words in failed.json()["detail"].lower()) == (status, True), failed.text
        assert DEFAULT_TOKEN not in failed.text
    assert (await file_of(quick, small)).content == pdf()
    metrics = (await quick.client.get("/metrics")).text
    assert 'endpoint="download"' in metrics
    assert "file_" not in "".join(line for line in metrics.splitlines() if 'endpoint="' in line)
