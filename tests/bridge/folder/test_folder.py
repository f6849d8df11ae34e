"""The folder, with real files, a bridge that runs, and one that is killed; on both databases.

Answers the ancestor's C-1 (no live file was ever delivered) and C-2 (a file was deleted although
sending had failed, and one that could not be read stayed for ever).
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, NoReturn

import httpx
import orjson
import pytest
import watchfiles
from prometheus_client import CollectorRegistry

from services.bridge import app as bridge_app
from services.bridge.approvals.from_event import EventApprovals
from services.bridge.chats.names import ChatNames, Found, NamedChat
from services.bridge.folder.files import REJECTED, TAKEN, File, Folder, folder_of
from services.bridge.folder.intake import STABLE_SECONDS, FolderIntake, Limits
from services.bridge.metrics import FolderMetrics
from services.bridge.routes.routes import Routes
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.health import Level
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import Outbox
from services.outbox.files.store import FileStore
from services.outbox.metrics import OutboxMetrics
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from tests import servers
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.ports import free_port
from tests.servers import KEY, ManualClock, Sandbox

ROOT = Path(__file__).parents[3]
HELLO: dict[str, Any] = {"type": "custom_event", "title": "hello"}


@pytest.fixture
def events_dir(tmp_path: Path) -> Path:
    return tmp_path / "events"


def drop(folder: Path, name: str, content: Any) -> Path:
    """Moves a file in, as programs should: written elsewhere on the same disk, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / ".draft"
    draft.write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
    return draft.rename(folder / name)


def left(folder: Path) -> list[str]:
    """The files that are still there, whatever they are."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def reason(folder: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads((folder / REJECTED / f"{name}.reason.json").read_bytes())
    return read


# With a bridge that runs


@pytest.fixture
async def bridge(
    bridge_settings: BridgeFactory, database_url: str, events_dir: Path
) -> AsyncIterator[httpx.AsyncClient]:
    settings = bridge_settings(database_url=database_url, events_dir=events_dir)
    async with servers.client_of(bridge_app.create_app, settings) as client:
        yield client


async def test_a_file_moved_in_is_delivered_and_gone(
    bridge: httpx.AsyncClient, events_dir: Path, sandbox: Sandbox
) -> None:
    """C-1: while the bridge runs, without a restart."""
    drop(events_dir, "one.json", HELLO)

    async def delivered() -> bool:
        return any("hello" in text for text in await sandbox.texts())

    await servers.until(delivered)

    async def gone() -> bool:
        return left(events_dir) == [f"{TAKEN}/.lock"]

    await servers.until(gone)
    (message,) = (await bridge.get("/api/v1/messages")).json()["items"]
    event = (await bridge.get(f"/api/v1/events/{message['event_id']}")).json()
    assert event["client"] == "folder"


async def test_a_list_is_taken_whole_and_a_bad_file_beside_it_is_put_aside(
    bridge: httpx.AsyncClient, events_dir: Path
) -> None:
    """C-2: what cannot be read does not stay, and says why."""
    drop(events_dir, "list.json", [HELLO | {"title": f"n{n}"} for n in range(3)])
    drop(events_dir, "bad.json", {"type": "task_started", "title": "", "colour": "red"})

    async def both() -> bool:
        listed = (await bridge.get("/api/v1/messages")).json()["items"]
        return len(listed) == 3 and (events_dir / REJECTED / "bad.reason.json").exists()

    await servers.until(both)
    said = reason(events_dir, "bad")
    assert said["file"] == "bad.json"
    assert {tuple(error["loc"]) for error in said["errors"]} == {("title",), ("colour",)}
    assert (events_dir / REJECTED / "bad.json").exists()

    async def counted() -> bool:
        text = (await bridge.get("/metrics")).text
        return all(
            f'cctelegram_folder_files_total{{outcome="{outcome}"}} {number}' in text
            for outcome, number in (("taken", "1.0"), ("rejected", "1.0"), ("repeated", "0.0"))
        )

    await servers.until(counted)

    async def told() -> bool:
        components = (await bridge.get("/health")).json()["components"]
        named = [components[name].get("events_dir") for name in ("folder_intake", "file_system")]
        return named == [str(events_dir)] * 2

    await servers.until(told)


async def test_a_callback_that_may_not_be_called_is_refused_here_too(
    bridge: httpx.AsyncClient, events_dir: Path
) -> None:
    drop(events_dir, "bad.json", [HELLO, HELLO | {"callback_url": "http://169.254.169.254/latest"}])

    async def put_aside() -> bool:
        return (events_dir / REJECTED / "bad.reason.json").exists()

    await servers.until(put_aside)
    (error,) = reason(events_dir, "bad")["errors"]
    assert (error["loc"], "private" in error["msg"]) == ([1, "callback_url"], True)
    assert (await bridge.get("/api/v1/messages")).json()["items"] == []


async def test_what_was_there_before_the_start_is_taken(
    bridge_settings: BridgeFactory, database_url: str, events_dir: Path, sandbox: Sandbox
) -> None:
    drop(events_dir, "early.json", HELLO | {"title": "early"})
    settings = bridge_settings(database_url=database_url, events_dir=events_dir)
    async with servers.client_of(bridge_app.create_app, settings):

        async def delivered() -> list[str]:
            return await sandbox.texts()

        assert len(await servers.until(delivered)) == 1


class Killed:
    """A bridge in a process of its own, without a Telegram; it kills itself at a moment."""

    def __init__(self, folder: Path, database_url: str, events_dir: Path) -> None:
        self.database_url = database_url
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(folder / "data"),
            "DATABASE_URL": database_url,
            "EVENTS_DIR": str(events_dir),
            "API_KEY": KEY,
            "BRIDGE_PORT": "0",
            "TELEGRAM_API_URL": f"http://127.0.0.1:{free_port()}",
        }

    def run(self, moment: str) -> None:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("dying.py")), moment],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def killed(tmp_path: Path, database_url: str, events_dir: Path) -> Killed:
    return Killed(tmp_path, database_url, events_dir)


@pytest.mark.parametrize("moment", ["committed", "taken"])
async def test_a_kill_between_the_steps_loses_nothing_and_doubles_nothing(
    moment: str, killed: Killed, bridge_settings: BridgeFactory, events_dir: Path, sandbox: Sandbox
) -> None:
    """kill -9 between the commit and the removal, and between the taking and the commit."""
    drop(events_dir, "list.json", [HELLO | {"title": f"n{n}"} for n in range(3)])
    drop(events_dir, "one.json", HELLO | {"title": "n3"})
    await asyncio.to_thread(killed.run, moment)
    assert [name.startswith(f"{TAKEN}/") for name in left(events_dir)] == [True] * 3  # two and the lock
    settings = bridge_settings(database_url=killed.database_url, events_dir=events_dir)
    async with servers.client_of(bridge_app.create_app, settings) as bridge:

        async def finished() -> bool:
            listed = (await bridge.get("/api/v1/messages")).json()["items"]
            states = [message["status"] for message in listed]
            return states == ["delivered"] * 4 and left(events_dir) == [f"{TAKEN}/.lock"]

        await servers.until(finished)
        outcome = "repeated" if moment == "committed" else "taken"
        assert (
            f'cctelegram_folder_files_total{{outcome="{outcome}"}} 2.0' in (await bridge.get("/metrics")).text
        )
    assert sorted(text.split()[-1] for text in await sandbox.texts()) == ["n0", "n1", "n2", "n3"]


def test_a_folder_that_cannot_be_used_stops_the_start(bridge_settings: BridgeFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"^EVENTS_DIR: cannot use "):
        folder_of(tmp_path / "file")


# The loop by hand


class Hand:
    """The loop, a look at a time, at the times of a manual clock."""

    def __init__(self, root: Path, outbox: Outbox, telemetry: Telemetry, clock: ManualClock) -> None:
        self.root = root
        self.clock = clock
        self.outbox = outbox
        self.registry = CollectorRegistry()
        self.intake = FolderIntake(
            folder_of(root),
            Limits(2_000),
            outbox=outbox,
            files=FileStore(outbox.database, clock),
            routes=lambda: Routes({"default": (1001,)}),
            find_chats=self.find_chats,
            asks=EventApprovals({}, 60.0),
            on_approvals=lambda _: None,
            telemetry=telemetry,
            metrics=FolderMetrics(self.registry),
            clock=clock,
        )

    async def find_chats(self, wanted: Collection[NamedChat]) -> Found:
        """One chat has a name; Telegram is not reached for a username."""
        if any(one.is_username for one in wanted):
            raise Problem(503, "Telegram not reached", "Telegram was not reached.")
        return {one: ChatNames.of([(-7, "Operations")]).find(one.name) for one in wanted}

    async def look(self, after: float = 0.0) -> list[str]:
        """The titles that are stored after one more look, in their order."""
        self.clock.advance(after)
        await self.intake._once()
        rows = await self.outbox.database.read(
            "read", lambda c: c.exec_driver_sql("SELECT title FROM event ORDER BY id").scalars().all()
        )
        return [str(title) for title in rows]

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("cctelegram_folder_files_total", {"outcome": outcome})


@pytest.fixture
def hand(database: Database, telemetry: Telemetry, clock: ManualClock, events_dir: Path) -> Hand:
    bot = make_bot("1:x", "http://127.0.0.1:9", 1, telemetry.count_call)
    outbox = Outbox(
        database=database,
        telemetry=telemetry,
        metrics=OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
        clock=clock,
        sender=Sender(bot, clock),
    )
    return Hand(events_dir, outbox, telemetry, clock)


async def test_a_file_that_is_written_in_place_is_taken_once_it_is_whole(hand: Hand) -> None:
    whole = orjson.dumps(HELLO)
    path = hand.root / "slow.json"
    for part in (b"", whole[:5], whole[:-1]):
        path.write_bytes(part)
        assert await hand.look(after=STABLE_SECONDS - 0.1) == []
    path.write_bytes(whole)
    assert await hand.look() == ["hello"]
    assert hand.counted("rejected") == 0


async def test_a_file_that_is_not_json_is_rejected_once_it_is_stable(hand: Hand) -> None:
    drop(hand.root, "half.json", b'{"type": "custom_event", "tit')
    assert await hand.look() == []
    assert not (hand.root / REJECTED / "half.json").exists()
    await hand.look(after=STABLE_SECONDS)
    assert "not valid JSON" in reason(hand.root, "half")["errors"][0]["msg"]


async def test_drafts_and_other_files_are_left_alone(hand: Hand) -> None:
    names = [".hidden.json", "event.json.tmp", "event.tmp", "notes.txt"]
    for name in names:
        (hand.root / name).write_bytes(orjson.dumps(HELLO))
    (hand.root / "folder.json").mkdir()
    (hand.root / "link.json").symlink_to(hand.root / "notes.txt")
    os.mkfifo(hand.root / "pipe.json")
    assert await hand.look() == []
    assert set(names) <= set(left(hand.root))


async def test_the_same_name_and_content_moved_in_again_is_another_event(hand: Hand) -> None:
    for number in (1, 2, 3):
        drop(hand.root, "daily.json", HELLO)
        assert await hand.look() == ["hello"] * number


async def test_what_is_moved_in_over_a_file_that_is_being_taken_is_not_lost(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit of the first and its removal a second one comes under its name."""
    remove = Folder.remove

    def meanwhile(folder: Folder, files: list[File]) -> None:
        monkeypatch.setattr(Folder, "remove", remove)
        drop(hand.root, "event.json", HELLO | {"title": "second"})
        remove(folder, files)

    monkeypatch.setattr(Folder, "remove", meanwhile)
    drop(hand.root, "event.json", HELLO | {"title": "first"})
    await hand.look()
    assert await hand.look() == ["first", "second"]


async def test_files_are_taken_in_the_order_in_which_they_came(hand: Hand) -> None:
    for number in (3, 1, 2):
        path = drop(hand.root, f"{number}.json", HELLO | {"title": f"n{number}"})
        os.utime(path, (1_000_000 + number, 1_000_000 + number))
    assert await hand.look() == ["n1", "n2", "n3"]


async def test_a_crowd_of_files_is_taken_in_one_look(hand: Hand) -> None:
    for number in range(450):
        drop(hand.root, f"{number:03}.json", HELLO)
    assert len(await hand.look()) == 450
    assert left(hand.root) == [f"{TAKEN}/.lock"]


async def test_a_file_that_is_too_large_is_put_aside_unread(hand: Hand) -> None:
    drop(hand.root, "large.json", b"[" + b" " * 2_000 + b"]")
    assert await hand.look() == []
    assert reason(hand.root, "large")["detail"] == "A file may have at most 2000 bytes (MAX_BODY_BYTES)."


@on_sqlite
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "1 to 500 events"),
        (b"5", ""),
        (b"null", ""),
        (b'{"type": "custom_event"}', "this field is missing"),
        (orjson.dumps([HELLO, {"type": 5}]), ""),
    ],
)
async def test_every_bad_content_is_put_aside_with_a_reason(hand: Hand, content: bytes, said: str) -> None:
    drop(hand.root, "bad.json", content)
    assert await hand.look() == []
    assert said in orjson.dumps(reason(hand.root, "bad")["errors"]).decode()
    assert (hand.root / REJECTED / "bad.json").read_bytes() == content
    assert hand.counted("rejected") == 1


async def test_two_bad_files_of_one_name_are_both_kept(hand: Hand) -> None:
    for content in (b"1", b"2"):
        drop(hand.root, "bad.json", content)
        await hand.look()
    kept = [name for name in left(hand.root) if name.startswith(REJECTED)]
    assert len(kept) == 4
    assert sum(name.endswith(".reason.json") for name in kept) == 2


@on_sqlite
@pytest.mark.parametrize("name", [b"x" * 250 + b".json", "é".encode() * 125 + b".json", b"caf\xe9.json"])
async def test_a_file_is_taken_or_put_aside_whatever_its_name(hand: Hand, name: bytes) -> None:
    """Of 255 bytes, or of bytes that are no text."""
    drop(hand.root, os.fsdecode(name), [])
    assert await hand.look() == []
    drop(hand.root, os.fsdecode(name), HELLO)
    drop(hand.root, "other.json", HELLO | {"title": "other"})
    assert await hand.look() == ["hello", "other"]
    (rejected, _) = sorted(path for path in left(hand.root) if path.startswith(REJECTED))
    assert (hand.root / rejected).read_bytes() == b"[]"
    assert (hand.counted("taken"), hand.counted("rejected")) == (2, 1)
    assert (await hand.intake.check()).level is Level.HEALTHY


@on_sqlite
@pytest.mark.parametrize("step", ["read", "take", "reject"])
async def test_a_file_that_the_system_refuses_keeps_no_other_one_back(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Such as a file of another user: its event is neither lost nor in the way."""
    refused = PermissionError(13, "Permission denied", "theirs.json")
    folder_read, rename = hand.intake._folder.read, Path.rename

    def read(file: File, most: int) -> bytes | None:
        if file.name == "theirs.json":
            raise refused
        return folder_read(file, most)

    def renamed(path: Path, target: Path) -> Path:
        if path.name == "theirs.json":
            raise refused
        return rename(path, target)

    drop(hand.root, "theirs.json", b"{" * 2_001 if step == "reject" else HELLO | {"title": "theirs"})
    drop(hand.root, "ours.json", HELLO)
    with monkeypatch.context() as patched:
        if step == "read":
            patched.setattr(hand.intake._folder, "read", read)
        else:
            patched.setattr(Path, "rename", renamed)
        assert [await hand.look(), await hand.look()] == [["hello"]] * 2
        reading = await hand.intake.check()
        assert (reading.level, reading.measured["waiting"]) == (Level.UNHEALTHY, 1)
        assert reading.measured["error"] == "Permission denied: theirs.json"
        assert left(hand.root) == [f"{TAKEN}/.lock", "theirs.json"]
    assert await hand.look() == (["hello"] if step == "reject" else ["hello", "theirs"])
    assert (await hand.intake.check()).level is Level.HEALTHY


async def test_a_file_that_grows_while_it_is_read_is_not_read_whole(hand: Hand) -> None:
    drop(hand.root, "growing.json", HELLO)
    (listed,) = hand.intake._folder.waiting()
    drop(hand.root, "growing.json", b" " * 3_000 + orjson.dumps(HELLO))
    assert hand.intake._folder.read(listed, 2_000) is None
    assert not await hand.intake._is_whole(listed)
    assert reason(hand.root, "growing")["detail"] == "A file may have at most 2000 bytes (MAX_BODY_BYTES)."


async def test_a_byte_order_mark_is_no_fault(hand: Hand) -> None:
    drop(hand.root, "windows.json", b"\xef\xbb\xbf" + orjson.dumps(HELLO))
    assert await hand.look() == ["hello"]


async def test_while_the_store_is_down_files_wait_and_health_says_so(
    hand: Hand, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-2: a file goes only after its events are on disk."""
    drop(hand.root, "one.json", HELLO)
    enqueue = hand.outbox.enqueue

    async def refuse(_: Any) -> Any:
        raise Problem(503, "Store unavailable", "Nothing was stored: connection refused")

    monkeypatch.setattr(hand.outbox, "enqueue", refuse)
    assert await hand.look() == []
    assert len([name for name in left(hand.root) if name.endswith("one.json")]) == 1
    reading = await hand.intake.check()
    assert (reading.level, reading.measured["waiting"]) == (Level.UNHEALTHY, 1)
    assert "connection refused" in reading.measured["error"]
    assert hand.counted("rejected") == 0
    monkeypatch.setattr(hand.outbox, "enqueue", enqueue)
    assert await hand.look() == ["hello"]
    assert (await hand.intake.check()).level is Level.HEALTHY
    assert left(hand.root) == [f"{TAKEN}/.lock"]


async def test_a_folder_that_was_deleted_is_unhealthy_until_it_is_there_again(hand: Hand) -> None:
    assert await hand.look() == []
    shutil.rmtree(hand.root)
    assert await hand.look() == []
    reading = await hand.intake.check()
    assert reading.level is Level.UNHEALTHY
    assert "No such file or directory" in reading.measured["error"]
    assert not hand.root.exists()
    drop(hand.root, "one.json", HELLO)
    assert await hand.look() == ["hello"]
    assert (await hand.intake.check()).level is Level.HEALTHY
    assert left(hand.root) == [f"{TAKEN}/.lock"]


async def test_one_process_takes_and_another_one_takes_over(
    hand: Hand, database: Database, telemetry: Telemetry
) -> None:
    assert await hand.look() == []
    other = Hand(hand.root, hand.outbox, telemetry, hand.clock)
    drop(hand.root, "one.json", HELLO)
    assert await other.look() == []
    assert (await other.intake.check()).measured["taken_by"] == "another process"
    hand.intake._folder.close()
    assert await other.look() == ["hello"]


async def test_names_that_were_used_up_are_forgotten_with_their_files(hand: Hand) -> None:
    drop(hand.root, "one.json", HELLO)
    await hand.look()
    rows = await hand.outbox.database.read(
        "read", lambda c: c.exec_driver_sql("SELECT count(*) FROM once").scalar_one()
    )
    assert rows == 0


async def test_where_nothing_tells_of_new_files_they_are_seen_all_the_same(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system, or no inotify watch to be had."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("inotify watch limit reached")

    monkeypatch.setattr(watchfiles, "awatch", refuse)
    running = asyncio.create_task(hand.intake.run())
    try:
        drop(hand.root, "one.json", HELLO)

        async def taken() -> bool:
            return hand.counted("taken") == 1 and left(hand.root) == [f"{TAKEN}/.lock"]

        await servers.until(taken)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_file_names_a_chat_and_waits_while_telegram_cannot_be_asked(hand: Hand) -> None:
    drop(hand.root, "named.json", HELLO | {"chat_id": "operations"})
    drop(hand.root, "unknown.json", HELLO | {"chat_id": "Kitchen"})
    drop(hand.root, "username.json", HELLO | {"title": "later", "chat_id": "@ops"})
    assert await hand.look() == ["hello"]
    assert reason(hand.root, "unknown")["errors"] == [{"loc": ["chat_id"], "msg": "no chat has this name"}]
    assert (await hand.intake.check()).level is Level.UNHEALTHY
    assert len([path for path in left(hand.root) if path.endswith("username.json")]) == 1
