"""Upload a file, read it, and send it with an event, over HTTP and on both databases."""

import hashlib
from typing import Any

import httpx
import orjson
import pytest

from services.bridge.app import create_app
from tests import images
from tests.bridge.files.conftest import Client
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.servers import KEY, client_of, http


async def test_an_uploaded_file_is_answered_once_it_is_stored(client: Client) -> None:
    content = images.pdf()
    answer = await client.http.post(
        "/api/v1/files", content=content, headers={"Content-Type": "application/pdf"}
    )
    assert answer.status_code == 201
    assert answer.json() | {"id": ""} == {
        "id": "",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media_type": "application/pdf",
        "filename": None,
    }


async def test_a_form_with_a_file_is_the_same_file_with_a_name(client: Client) -> None:
    raw = await client.upload(images.pdf())
    answer = await client.http.post("/api/v1/files", files={"file": ("../../Q3 - report.pdf", images.pdf())})
    assert answer.status_code == 201
    assert (answer.json()["id"], answer.json()["filename"]) == (raw, "Q3 - report.pdf")


async def test_a_file_is_given_back_as_a_download_whatever_it_is(client: Client) -> None:
    page = b"<html><script>alert(document.cookie)</script></html>"
    answer = await client.http.get(f"/api/v1/files/{await client.upload(page)}")
    assert answer.status_code == 200
    assert answer.content == page
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''file.txt"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(page))


async def test_an_unknown_file_is_not_found(client: Client) -> None:
    assert (await client.http.get("/api/v1/files/no-such")).status_code == 404


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"", 422),
        ({"Content-Type": "multipart/form-data"}, b"x", 400),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"x", 400),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"--b--\r\n", 400),
    ],
)
async def test_what_is_no_file_is_refused(
    client: Client, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = await client.http.post("/api/v1/files", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_document_and_a_photo_arrive_with_the_text_as_caption(client: Client) -> None:
    document, photo = await client.upload(images.pdf()), await client.upload(images.png(64, 48))
    await client.message(await client.post({"file_id": document, "filename": "report.pdf"}))
    await client.message(await client.post({"file_id": photo, "spoiler": True}))
    first, second = await client.shown()
    assert (first["file"]["kind"], first["file"]["name"]) == ("document", "report.pdf")
    assert first["content"] == images.pdf()
    assert first["message"]["caption"].startswith("ℹ️ Report")  # noqa: RUF001 - the emoji
    assert first["message"]["caption_entities"][0]["type"] == "bold"
    assert (second["file"]["kind"], second["content"]) == ("photo", images.png(64, 48))
    assert second["message"]["has_media_spoiler"]


async def test_one_curl_sends_an_event_with_its_files(client: Client) -> None:
    event = {"type": "info_notification", "title": "Report"}
    answer = await client.form(event, [("report.pdf", images.pdf()), ("more.pdf", images.pdf("more"))])
    assert answer.status_code == 202, answer.text
    message = await client.message(answer.json())
    assert len(message["telegram_message_ids"]) == 2
    shown = await client.shown()
    assert [one["file"]["name"] for one in shown] == ["report.pdf", "more.pdf"]
    assert [one["content"] for one in shown] == [images.pdf(), images.pdf("more")]
    assert len({one["message"]["media_group_id"] for one in shown}) == 1


async def test_a_repeated_form_with_its_idempotency_key_is_sent_once(client: Client) -> None:
    event = {"type": "info_notification", "title": "Report"}
    key = {"Idempotency-Key": "report-7"}
    first = await client.form(event, [("report.pdf", images.pdf())], **key)
    again = await client.form(event, [("report.pdf", images.pdf())], **key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    other = await client.form(event, [("report.pdf", images.pdf("other"))], **key)
    assert other.status_code == 422
    await client.message(first.json())
    assert len(await client.shown()) == 1


@on_sqlite
@pytest.mark.parametrize(
    ("event", "files", "status", "words"),
    [
        (None, 1, 422, "a form has one event"),
        ([], 1, 422, "a form has one event"),
        ({"type": "x"}, 1, 422, "title"),
        ({"type": "x", "title": "t"}, 11, 422, "at most 10 files"),
        ({"type": "x", "title": "t", "attachments": "x"}, 1, 422, "valid list"),
    ],
)
async def test_a_wrong_form_is_refused_in_words(
    client: Client, event: Any, files: int, status: int, words: str
) -> None:
    answer = await client.form(event, [(f"{number}.txt", b"x") for number in range(files)])
    assert answer.status_code == status, answer.text
    assert words in answer.text


async def test_a_form_without_an_event_or_with_a_nameless_file_is_refused(client: Client) -> None:
    missing = await client.http.post("/api/v1/events", files={"file": ("a.txt", b"x")})
    assert missing.status_code == 400
    assert "no part `event`" in missing.json()["detail"]
    nameless = await client.http.post("/api/v1/events", files={"report": (None, b"x")})
    assert nameless.status_code == 400
    assert "event=" in nameless.json()["detail"]


async def test_a_form_needs_a_key_and_no_signature(client: Client) -> None:
    form = {"event": (None, b"{}")}
    async with http(str(client.http.base_url)) as stranger:
        assert (await stranger.post("/api/v1/events", files=form)).status_code == 401
    signed = await client.http.post(
        "/api/v1/events", files=form, headers={"X-CCTelegram-Signature": "sha256=0"}
    )
    assert signed.status_code == 415


@on_sqlite
@pytest.mark.parametrize(
    ("attachment", "loc", "words"),
    [
        ({"file_id": "no-such"}, ["attachments", 0, "file_id"], "no file has this ID"),
        ({}, ["attachments", 0, "file_id"], "exactly one"),
        ({"file_id": "a", "url": "https://x.example/a"}, ["attachments", 0, "url"], "exactly one"),
        ({"path": "../../etc/passwd"}, ["attachments", 0, "path"], "EVENTS_DIR"),
        ({"url": "http://10.0.0.5/plot.png"}, ["attachments", 0, "url"], "private"),
        ({"url": "file:///etc/passwd"}, ["attachments", 0, "url"], "http and https"),
        ({"file_id": "a", "filename": "../a.txt"}, ["attachments", 0, "filename"], "no /"),
        ({"file_id": "a", "filename": "a\r\nb.txt"}, ["attachments", 0, "filename"], "control characters"),
        ({"file_id": "a", "caption": "x" * 1_025}, ["attachments", 0, "caption"], "1024"),
        ({"file_id": "a", "kind": "sticker"}, ["attachments", 0, "kind"], "'photo'"),
    ],
)
async def test_a_wrong_attachment_is_refused_before_the_202(
    client: Client, attachment: dict[str, Any], loc: list[Any], words: str
) -> None:
    error = await client.refused(attachment)
    assert error["loc"] == loc
    assert words in error["msg"]


async def test_a_photo_that_telegram_would_refuse_is_refused_before_the_202(client: Client) -> None:
    wide = await client.upload(images.png(9_000, 1_001))
    error = await client.refused({"file_id": wide, "kind": "photo"})
    assert error["loc"] == ["attachments", 0, "kind"]
    assert "10000 pixels together, not 9000 x 1001" in error["msg"]
    # As it is best shown, it is a document.
    await client.message(await client.post({"file_id": wide}))
    (shown,) = await client.shown()
    assert shown["file"]["kind"] == "document"


async def test_an_error_in_a_list_names_the_event(client: Client) -> None:
    event = {"type": "x", "title": "t"}
    body = [event, event | {"attachments": [{"file_id": "no-such"}]}]
    answer = await client.http.post("/api/v1/events", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == [1, "attachments", 0, "file_id"]


async def test_a_photo_that_telegram_refuses_goes_as_a_document(client: Client) -> None:
    photo = await client.upload(images.png(64, 48))
    words = "Bad Request: IMAGE_PROCESS_FAILED"
    await client.sandbox.faults(
        {"kind": "answer", "status": 400, "description": words, "methods": ["sendPhoto"]}
    )
    message = await client.message(await client.post({"file_id": photo, "filename": "plot.png"}))
    assert message["attempts_made"] == 1
    (shown,) = await client.shown()
    assert (shown["file"]["kind"], shown["file"]["name"]) == ("document", "plot.png")
    assert shown["message"]["caption"]


async def test_recipients_of_one_event_share_an_upload(client: Client) -> None:
    photo = await client.upload(images.png(64, 48))
    accepted = await client.post({"file_id": photo}, chat_id=[1001, 1002, -2001])
    for message_id in accepted["message_ids"]:
        await client.message({"message_ids": [message_id]})
    ids = {(await client.shown(chat))[0]["message"]["photo"][0]["file_id"] for chat in (1001, 1002, -2001)}
    assert len(ids) == 1


async def test_mixed_files_are_albums_and_messages_in_their_order(client: Client) -> None:
    one, two = await client.upload(images.png(8, 8)), await client.upload(images.png(9, 9))
    gif, text = await client.upload(b"GIF89a\x08\0\x08\0"), await client.upload(b"log")
    accepted = await client.post(
        {"file_id": one},
        {"file_id": two, "caption": "Second"},
        {"file_id": gif},
        {"file_id": text, "filename": "a.log"},
        description="x" * 1_500,
    )
    message = await client.message(accepted)
    shown = await client.shown()
    assert [one["file"] and one["file"]["kind"] for one in shown] == [
        None,
        "photo",
        "photo",
        "animation",
        "document",
    ]
    assert message["telegram_message_ids"] == [one["message"]["message_id"] for one in shown]
    assert shown[2]["message"]["caption"] == "Second"
    assert [attempt["part"] for attempt in message["attempts"]] == [1, 2, 3, 4]


async def test_an_album_whose_answer_was_lost_is_sent_again_and_says_so(client: Client) -> None:
    one, two = await client.upload(images.png(8, 8)), await client.upload(images.png(9, 9))
    log = await client.upload(b"log")
    await client.sandbox.faults({"kind": "close", "deliver": True, "methods": ["sendMediaGroup"]})
    accepted = await client.post({"file_id": one}, {"file_id": two}, {"file_id": log, "filename": "a.log"})
    message = await client.message(accepted)
    assert [(attempt["part"], attempt["outcome"]) for attempt in message["attempts"]] == [
        (1, "unknown"),
        (1, "sent"),
        (2, "sent"),
    ]
    assert message["possible_duplicate"]
    shown = await client.shown()
    assert [one["file"]["kind"] for one in shown] == ["photo"] * 4 + ["document"]
    assert shown[2]["message"]["caption"].startswith("Perhaps a repetition")


async def test_an_album_whose_second_call_lost_its_answer_repeats_only_that(client: Client) -> None:
    ids = [await client.upload(images.png(8 + number, 8)) for number in range(2)]
    documents = [await client.upload(f"log {number}".encode()) for number in range(2)]
    # With this seed the documents' call is hit, and not the one of the photos before it.
    await client.sandbox.post("/faults/seed", {"seed": 10}, method="PUT")
    lost = {"kind": "close", "deliver": True, "methods": ["sendMediaGroup"], "probability": 0.5}
    await client.sandbox.faults(lost)
    files = [{"file_id": one} for one in ids] + [{"file_id": one, "filename": "a.log"} for one in documents]
    accepted = await client.post(*files)
    message = await client.message(accepted)
    assert [(attempt["part"], attempt["outcome"]) for attempt in message["attempts"]] == [
        (1, "sent"),
        (2, "unknown"),
        (2, "sent"),
    ]
    assert [one["file"]["kind"] for one in await client.shown()] == ["photo"] * 2 + ["document"] * 4


async def test_held_messages_stay_unknown_when_the_albums_answer_was_lost(client: Client) -> None:
    ids = [await client.upload(images.png(8 + number, 8)) for number in range(2)]
    await client.sandbox.faults({"kind": "close", "deliver": True, "methods": ["sendMediaGroup"]})
    accepted = await client.post(*({"file_id": one} for one in ids), on_unknown="hold")
    await client.message(accepted, "unknown")
    assert len(await client.shown()) == 2


async def test_a_question_shows_its_file_above_and_keeps_its_buttons(client: Client) -> None:
    plot = await client.upload(images.png(64, 48))
    accepted = await client.post(
        {"file_id": plot}, type="approval_request", data={"approval_prompt": "Deploy?"}
    )
    await client.message(accepted)
    first, second = await client.shown()
    assert first["file"]["kind"] == "photo"
    assert "Deploy?" in second["message"]["text"]
    assert second["message"]["reply_markup"]["inline_keyboard"]


async def test_the_limits_of_the_settings_hold(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(max_file_bytes=100_000, files_max_total_bytes=1 << 20)
    async with client_of(create_app, settings) as own:
        large = await own.post("/api/v1/files", content=bytes(100_001))
        assert (large.status_code, large.json()["title"]) == (413, "Content Too Large")
        assert "MAX_FILE_BYTES" in large.json()["detail"]
        declared = await own.post("/api/v1/files", content=bytes(5_000_000))
        assert declared.status_code == 413
        for number in range(10):
            stored = await own.post("/api/v1/files", content=bytes([number]) * 100_000)
            assert stored.status_code == 201
        full = await own.post("/api/v1/files", content=b"y" * 100_000)
        assert full.status_code == 507
        assert "FILES_MAX_TOTAL_BYTES" in full.json()["detail"]
        form = [
            ("event", (None, orjson.dumps({"type": "x", "title": "t"}))),
            ("file", ("a.bin", b"y" * 100_000)),
        ]
        assert (await own.post("/api/v1/events", files=form)).status_code == 507


async def test_a_key_reads_and_uploads_files_by_its_scopes(client: Client) -> None:
    async def key(*scopes: str) -> httpx.AsyncClient:
        made = await client.http.post(
            "/api/v1/keys", json={"name": "-".join(scopes)[:20].replace(":", "-"), "scopes": scopes}
        )
        assert made.status_code == 201, made.text
        return http(str(client.http.base_url), key=made.json()["secret"])

    file_id = await client.upload(b"x")
    async with await key("events:write") as writer, await key("messages:read") as reader:
        assert (await writer.post("/api/v1/files", content=b"x")).status_code == 201
        assert (await writer.get(f"/api/v1/files/{file_id}")).status_code == 403
        assert (await reader.get(f"/api/v1/files/{file_id}")).status_code == 200
        assert (await reader.post("/api/v1/files", content=b"x")).status_code == 403
    assert KEY


async def test_many_large_uploads_to_telegram_at_once_each_arrive_once(client: Client) -> None:
    """More than the sandbox's server holds of incomplete requests (128 MiB), four at once."""
    ids = [await client.upload(bytes([number]) * (45 << 20)) for number in range(4)]
    accepted = [
        await client.post({"file_id": one, "filename": "a.bin"}, chat_id=chat)
        for one, chat in zip(ids, (1001, 1002, -2001, -1001000000001), strict=True)
    ]
    for one in accepted:
        message = await client.message(one)
        assert [attempt["outcome"] for attempt in message["attempts"]] == ["sent"]
