"""Files that events of the folder name by a path: read inside the folder only, stored before the event."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from services.bridge import app as bridge_app
from services.bridge.folder.files import REJECTED, TAKEN, Folder, RefusedPathError, folder_of
from tests import servers
from tests.bridge.files.conftest import Client
from tests.bridge.folder.test_folder import drop, left, reason
from tests.conftest import BridgeFactory
from tests.servers import Sandbox

MOST = 1_000
REPORT: dict[str, Any] = {"type": "info_notification", "title": "Report"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    (folder / "out" / "deep").mkdir(parents=True)
    return folder


@pytest.fixture
def folder(root: Path) -> Folder:
    return folder_of(root)


def content(folder: Folder, path: str) -> bytes:
    handle = folder.open_attached(path, MOST)
    try:
        return os.read(handle, MOST)
    finally:
        os.close(handle)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_inside_the_folder_is_read(folder: Folder, root: Path) -> None:
    for path in ("a.txt", "out/b.txt", "out/deep/ü c"):
        (root / path).write_text(path)
        assert content(folder, path) == path.encode()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "../secret",
        "out/../../secret",
        "out/..",
        ".taken/.lock",
        ".hidden",
        "rejected/a",
        "out//a",
        "",
    ],
)
def test_a_path_out_of_the_folder_or_to_its_own_files_is_refused(
    folder: Folder, root: Path, path: str
) -> None:
    (root.parent / "secret").write_text("secret")
    (root / ".hidden").write_text("hidden")
    (root / REJECTED / "a").write_text("a")
    with pytest.raises(RefusedPathError, match="EVENTS_DIR"):
        content(folder, path)


def test_a_link_a_folder_and_a_pipe_are_no_files(folder: Folder, root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    for secret in (root.parent / "secret", root.parent / "elsewhere" / "secret"):
        secret.write_text("secret")
    (root / "link").symlink_to(root.parent / "secret")
    (root / "out" / "away").symlink_to(root.parent / "elsewhere")
    os.mkfifo(root / "pipe")
    for path in ("link", "out/away/secret", "out", "pipe", "link/secret"):
        with pytest.raises(RefusedPathError, match="no regular file"):
            content(folder, path)


def test_a_missing_and_a_large_file_are_refused_with_the_remedy(folder: Folder, root: Path) -> None:
    with pytest.raises(RefusedPathError, match="put it there before the event"):
        content(folder, "out/missing")
    (root / "large").write_bytes(b"x" * (MOST + 1))
    with pytest.raises(RefusedPathError, match="MAX_FILE_BYTES"):
        content(folder, "large")
    handles = open_files()
    for _ in range(3):
        with pytest.raises(RefusedPathError):
            content(folder, "large")
    assert open_files() == handles


@pytest.fixture
async def client(bridge_settings: BridgeFactory, root: Path, sandbox: Sandbox) -> AsyncIterator[Client]:
    async with servers.client_of(bridge_app.create_app, bridge_settings(events_dir=root)) as http:
        yield Client(http, sandbox)


async def until_rejected(root: Path, name: str) -> list[dict[str, Any]]:
    async def look() -> bool:
        return (root / REJECTED / f"{name}.reason.json").exists()

    await servers.until(look)
    return list(reason(root, name)["errors"])


async def test_the_file_is_sent_with_the_event_and_stays_where_it_is(
    client: Client, root: Path, sandbox: Sandbox
) -> None:
    for number in (1, 2):
        (root / "out" / f"log{number}.txt").write_bytes(f"log {number}".encode())
    files = [{"path": "out/log1.txt", "caption": "first"}, {"path": "out/log2.txt", "filename": "second.txt"}]
    drop(root, "one.json", [REPORT, REPORT | {"attachments": files}])

    async def arrived() -> list[dict[str, Any]]:
        shown = [one for one in await client.shown() if one["file"] is not None]
        return shown if len(shown) == 2 else []

    shown = await servers.until(arrived)
    assert [(one["message"]["document"]["file_name"], one["content"]) for one in shown] == [
        ("log1.txt", b"log 1"),
        ("second.txt", b"log 2"),
    ]

    async def gone() -> bool:
        return left(root) == [f"{TAKEN}/.lock", "out/log1.txt", "out/log2.txt"]

    await servers.until(gone)
    found = (await client.http.get("/api/v1/messages", params={"q": "Report"})).json()["items"]
    bodies = [(await client.http.get(f"/api/v1/messages/{one['id']}")).json()["body"] for one in found]
    (named,) = [orjson.loads(body)["attachments"] for body in bodies if "attachments" in body]
    assert [sorted(one) for one in named] == [["caption", "file_id", "filename"], ["file_id", "filename"]]


async def test_an_event_whose_file_cannot_be_taken_is_put_aside_with_the_field(
    client: Client, root: Path
) -> None:
    (root / "empty.txt").touch()
    (root / "text.txt").write_text("text")
    for name, wrong, loc, text in (
        ("missing", {"path": "out/missing.txt"}, "path", "no such file"),
        ("outside", {"path": "../bridge.db"}, "path", "leads out of EVENTS_DIR"),
        ("empty", {"path": "empty.txt"}, "path", "no bytes"),
        ("kind", {"path": "text.txt", "kind": "photo"}, "kind", ""),
        ("unknown", {"file_id": "none"}, "file_id", "no file has this ID"),
        ("two", {"path": "text.txt", "url": "http://a.example/b"}, "path", "exactly one"),
    ):
        drop(root, f"{name}.json", [REPORT, REPORT | {"attachments": [wrong]}])
        (error,) = await until_rejected(root, name)
        assert error["loc"][:3] == [1, "attachments", 0]
        assert (error["loc"][3], text in error["msg"]) == (loc, True), (name, error)
    assert (await client.http.get("/api/v1/messages")).json()["items"] == []
    assert (root / "text.txt").exists()


async def test_an_invalid_event_stores_no_file(client: Client, root: Path) -> None:
    (root / "text.txt").write_text("text")
    drop(root, "bad.json", REPORT | {"chat_id": [1, 1], "attachments": [{"path": "text.txt"}]})
    (error,) = await until_rejected(root, "bad")
    assert error["loc"] == ["chat_id"]
    health: httpx.Response = await client.http.get("/health")
    assert health.json()["components"]["file_store"]["stored_bytes"] == 0


async def test_an_event_waits_while_the_store_is_full_and_others_do_not(
    bridge_settings: BridgeFactory, root: Path, sandbox: Sandbox
) -> None:
    (root / "large.bin").write_bytes(b"x" * (2 << 20))
    full = bridge_settings(events_dir=root, files_max_total_bytes=1 << 20)
    drop(root, "a.json", REPORT | {"attachments": [{"path": "large.bin"}]})
    drop(root, "b.json", REPORT | {"title": "Other"})
    async with servers.client_of(bridge_app.create_app, full) as http:

        async def waits() -> bool:
            shown = (await http.get("/health")).json()["components"]["folder_intake"]
            return "FILES_MAX_TOTAL_BYTES" in str(shown.get("error")) and shown["waiting"] == 1

        await servers.until(waits)
        titles = [one["title"] for one in (await http.get("/api/v1/messages")).json()["items"]]
        assert titles == ["Other"]
    assert not (root / REJECTED / "a.reason.json").exists()
    roomy = bridge_settings(events_dir=root)
    async with servers.client_of(bridge_app.create_app, roomy) as http:
        client = Client(http, sandbox)

        async def arrived() -> bool:
            return any(one["file"] is not None for one in await client.shown())

        await servers.until(arrived)
