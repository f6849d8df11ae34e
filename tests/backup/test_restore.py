"""Backup and restore as programs, on SQLite and PostgreSQL: what is put back, and what is refused."""

import asyncio
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from services.backup import archive, postgres_dump
from services.backup.manifest import Kind
from services.kit.clock import SystemClock
from services.kit.database import migrate
from services.kit.database.connect import open_database
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.files.store import FileStore
from tests.backup.conftest import Place, archive_in, states, submit
from tests.databases import on_sqlite
from tests.servers import until

pytestmark = pytest.mark.xdist_group("programs")
POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


async def filled(here: Place, count: int = 3) -> list[str]:
    database = await here.opened()
    ids = await submit(database, count)
    await database.close()
    return ids


async def backed_up(here: Place, tmp_path: Path) -> Path:
    done = await asyncio.to_thread(here.backup, tmp_path / "backups")
    assert done.returncode == 0, done.stderr
    return archive_in(tmp_path / "backups")


async def states_in(place: Place) -> dict[str, str]:
    database = await place.opened()
    found = await states(database)
    await database.close()
    return found


@pytest.mark.parametrize(("unsent", "state"), [("hold", "unknown"), ("mark", "queued")])
async def test_everything_is_put_back_at_another_place(
    here: Place, there: Place, tmp_path: Path, unsent: str, state: str
) -> None:
    ids = await filled(here)
    path = await backed_up(here, tmp_path)
    done = await asyncio.to_thread(there.restore, path, "--unsent", unsent)
    assert done.returncode == 0, done.stderr
    held, marked = (3, 0) if unsent == "hold" else (0, 3)
    assert f"may have been sent since: {held} held, {marked} marked; scheduled for later: 0" in done.stdout
    assert await states_in(there) == dict.fromkeys(ids, state)
    assert await states_in(here) == dict.fromkeys(ids, "queued")
    key = there.folder / "api_key"
    assert key.read_text() == "cct_the-key-of-before\n"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_a_stored_file_is_given_back(here: Place, there: Place, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than a chunk, with every byte
    database = await here.opened()
    stored = await FileStore(database, SystemClock()).write(_pieces(content))
    await database.close()
    done = await asyncio.to_thread(there.restore, await backed_up(here, tmp_path))
    assert done.returncode == 0, done.stderr
    database = await there.opened()
    files = FileStore(database, SystemClock())
    assert await files.find([stored.id]) == {stored.id: stored}
    assert b"".join([piece async for piece in files.read(stored.id)]) == content
    await database.close()


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_restored_database_is_at_the_newest_revisions_and_works(
    here: Place, there: Place, tmp_path: Path
) -> None:
    path = await backed_up(here, tmp_path)
    assert (await asyncio.to_thread(there.restore, path)).returncode == 0
    database = await there.opened()
    ids = await submit(database, 1)
    assert await states(database) == dict.fromkeys(ids, "queued")
    await database.close()


async def test_the_manifest_says_what_is_in_it(here: Place, tmp_path: Path) -> None:
    await filled(here, 5)
    listed = archive.verify(await backed_up(here, tmp_path))
    database, key = listed.parts
    assert database.kind in (Kind.SQLITE, Kind.POSTGRESQL)
    assert database.messages == {"queued": 5}
    packages = ("services.outbox", "services.bridge.updates")
    newest = {migrate.version_table(name): migrate.known_revisions(name)[-1] for name in packages}
    assert newest.items() <= database.revisions.items()
    assert (key.name, key.mode) == ("files/api_key", 0o600)


async def test_an_archive_is_verified_without_a_place(here: Place, there: Place, tmp_path: Path) -> None:
    path = await backed_up(here, tmp_path)
    done = await asyncio.to_thread(there.restore, path, "--verify")
    assert done.returncode == 0, done.stderr
    assert f"{path.name}: complete" in done.stdout
    assert not there.folder.exists()


async def test_databases_that_something_else_has_restored_are_marked_in_place(here: Place) -> None:
    ids = await filled(here)
    done = await asyncio.to_thread(here.run, "services.restore", "--in-place", "2026-01-31T08:00:00Z")
    assert done.returncode == 0, done.stderr
    assert "3 held, 0 marked" in done.stdout
    assert await states_in(here) == dict.fromkeys(ids, "unknown")


async def test_a_database_that_a_service_uses_is_not_marked_in_place(here: Place) -> None:
    database = await here.opened()
    ids = await submit(database, 2)
    done = await asyncio.to_thread(here.run, "services.restore", "--in-place", "2026-01-31T08:00:00Z")
    assert done.returncode == 1
    assert "stop" in done.stderr
    assert await states(database) == dict.fromkeys(ids, "queued")
    await database.close()


@on_sqlite
@pytest.mark.parametrize("time", ["2026-01-31T08:00:00", "yesterday"])
async def test_a_time_in_place_needs_its_offset(here: Place, time: str) -> None:
    done = await asyncio.to_thread(here.run, "services.restore", "--in-place", time)
    assert done.returncode == 2
    assert "a time with its offset" in done.stderr


# Refused


async def test_data_that_is_there_is_not_overwritten(here: Place, tmp_path: Path) -> None:
    ids = await filled(here)
    path = await backed_up(here, tmp_path)
    later = await filled(here)
    done = await asyncio.to_thread(here.restore, path)
    assert done.returncode == 1
    assert done.stderr.count("there is data already") == 2
    assert done.stderr.endswith("add --overwrite to set it aside and restore the backup\n")
    assert (await states_in(here)).keys() == {*ids, *later}


async def test_what_is_overwritten_is_set_aside(here: Place, tmp_path: Path) -> None:
    ids = await filled(here)
    path = await backed_up(here, tmp_path)
    later = await filled(here)
    (here.folder / "api_key").write_text("cct_another-key\n")
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert (await states_in(here)).keys() == set(ids)
    assert (here.folder / "api_key").read_text() == "cct_the-key-of-before\n"
    (old_key,) = here.folder.glob("api_key.replaced-*")
    assert old_key.read_text() == "cct_another-key\n"
    assert set(await earlier(here)) == {*ids, *later}
    again = await asyncio.to_thread(here.backup, tmp_path / "again")
    assert "3 messages" in again.stdout


async def earlier(place: Place) -> list[str]:
    """The ids of the messages in the database that was set aside."""
    if place.database_url.startswith("sqlite"):
        (aside,) = place.folder.glob("bridge.db.replaced-*")
        connection = sqlite3.connect(aside)
        rows = connection.execute("SELECT id FROM message").fetchall()
        connection.close()
        return [row[0] for row in rows]

    def read(connection: Connection) -> list[str]:
        schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'replaced_%'"
        schema = connection.execute(text(schemas)).scalar_one()
        return list(connection.execute(text(f'SELECT id FROM "{schema}".message')).scalars())  # noqa: S608 - of the catalogue

    database = await place.opened()
    ids = await database.read("look", read)
    await database.close()
    return ids


async def test_a_database_that_a_service_uses_is_not_overwritten(here: Place, tmp_path: Path) -> None:
    path = await backed_up(here, tmp_path)
    database = await here.opened()
    ids = await submit(database, 2)
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    assert done.returncode == 1
    assert "stop" in done.stderr
    assert (await states(database)).keys() == set(ids)
    await submit(database, 1, first_chat=100)
    await database.close()


async def set_revision(place: Place, table: str, revision: str) -> None:
    database = await place.opened()
    update = text(f"UPDATE {table} SET version_num = :revision")  # noqa: S608 - our own names
    await database.write("later", lambda c: c.execute(update, {"revision": revision}))
    await database.close()


async def test_a_backup_of_a_newer_version_is_refused_readably(
    here: Place, there: Place, tmp_path: Path
) -> None:
    await set_revision(here, "outbox_version", "9999")
    path = await backed_up(here, tmp_path)
    done = await asyncio.to_thread(there.restore, path)
    assert done.returncode == 1
    assert "outbox_version is at 9999, and this program knows revisions up to" in done.stderr
    assert "the backup is of a newer program" in done.stderr
    assert "Traceback" not in done.stderr
    assert not there.folder.exists()


async def test_a_backup_of_an_older_version_is_upgraded(
    empty: Callable[[str], Place], there: Place, tmp_path: Path
) -> None:
    older = empty("older")
    database = await open_database(older.database_url, Telemetry("tests", ServiceSettings()), packages=[])
    upgrade = partial(migrate.upgrade, package="services.outbox", revision="0011")
    await database.write("migrate", upgrade)
    await database.close()
    path = await backed_up(older, tmp_path)
    assert archive.read_manifest(path).parts[0].revisions == {"outbox_version": "0011"}
    done = await asyncio.to_thread(there.restore, path)
    assert done.returncode == 0, done.stderr
    assert await states_in(there) == {}


async def test_a_downgrade_restores_the_backup_from_before_the_upgrade(here: Place, tmp_path: Path) -> None:
    """The way of docs/backup.md: this program is the older one, and the database is of a newer one."""
    ids = await filled(here)
    path = await backed_up(here, tmp_path)
    await set_revision(here, "outbox_version", "9999")
    with pytest.raises(StartError, match="was written by another version of this program"):
        await here.opened()
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert await states_in(here) == dict.fromkeys(ids, "unknown")


def damaged(content: bytes) -> bytes:
    return content[:-2_000] + bytes(2_000)


async def test_a_damaged_archive_changes_nothing(here: Place, there: Place, tmp_path: Path) -> None:
    path = await backed_up(here, tmp_path)
    path.write_bytes(damaged(path.read_bytes()))
    done = await asyncio.to_thread(there.restore, path)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert not there.folder.exists()


@on_sqlite
async def test_a_damaged_database_is_no_backup(here: Place, tmp_path: Path) -> None:
    await filled(here, 200)
    file = here.folder / "bridge.db"
    content = bytearray(file.read_bytes())
    # Half of the file: a page that is not in use may be damaged without harm.
    first, last = len(content) // 4, len(content) * 3 // 4
    content[first:last] = b"\xff" * (last - first)
    file.write_bytes(content)
    done = await asyncio.to_thread(here.backup, tmp_path / "backups")
    assert done.returncode == 1
    assert done.stderr.startswith("no backup: ")
    assert archive.archives_in(tmp_path / "backups") == []


@on_sqlite
async def test_a_damaged_database_can_be_replaced(here: Place, tmp_path: Path) -> None:
    ids = await filled(here)
    path = await backed_up(here, tmp_path)
    (here.folder / "bridge.db").write_bytes(b"no database any more" * 1_000)
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert (await states_in(here)).keys() == set(ids)


# The commands


@on_sqlite
async def test_old_archives_are_deleted_beyond_what_is_kept(here: Place, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    for day in (1, 2, 3):
        (backups / f"cctelegram-2026010{day}T000000Z.tar.gz").write_bytes(b"")
    (backups / "notes.txt").write_text("not ours")
    done = await asyncio.to_thread(here.backup, backups, "--keep", "2")
    assert done.returncode == 0, done.stderr
    oldest, _ = archive.archives_in(backups)
    assert oldest.name == "cctelegram-20260103T000000Z.tar.gz"
    assert (backups / "notes.txt").exists()
    assert not [path for path in backups.iterdir() if path.name.startswith(".")]


@POSTGRES
async def test_without_the_client_programs_the_package_is_named(here: Place, tmp_path: Path) -> None:
    here.environment = {"PATH": str(tmp_path)}
    done = await asyncio.to_thread(here.backup, tmp_path / "backups")
    assert (done.returncode, done.stderr) == (
        1,
        "no backup: pg_dump is not installed: install the package postgresql-client\n",
    )


async def execute(place: Place, *statements: str) -> None:
    def run(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    database = await place.opened()
    await database.write("prepare", run)
    await database.close()


@POSTGRES
async def test_other_schemas_of_the_database_are_neither_backed_up_nor_touched(
    here: Place, tmp_path: Path
) -> None:
    """As of a managed server, or of another program in the same database."""
    ids = await filled(here)
    await execute(
        here,
        "CREATE SCHEMA other",
        "CREATE TABLE other.message (id text)",
        "COMMENT ON SCHEMA public IS 'of the server'",
    )
    path = await backed_up(here, tmp_path)
    await execute(here, "INSERT INTO other.message VALUES ('stays')")
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert (await states_in(here)).keys() == set(ids)
    database = await here.opened()
    other = text("SELECT id FROM other.message")
    assert await database.read("look", lambda c: c.execute(other).scalars().all()) == ["stays"]
    await database.close()


@POSTGRES
async def test_services_are_noticed_whatever_name_their_connections_have(here: Place, tmp_path: Path) -> None:
    here.database_url = f"{here.database_url}?application_name=events"
    path = await backed_up(here, tmp_path)
    database = await here.opened()
    await submit(database, 1)
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    await database.close()
    assert (done.returncode, "stop them first" in done.stderr) == (1, True)


@POSTGRES
async def test_the_password_is_in_no_argument_that_others_can_see(here: Place, tmp_path: Path) -> None:
    """Every user of the machine can read the arguments of a process."""
    programs = tmp_path / "programs"
    programs.mkdir()
    fake = programs / "pg_dump"
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/arguments\n'
        f"cat {tmp_path}/backups/.cctelegram-backup-*/passfile > {tmp_path}/passfile\n"
        f"stat -c %a {tmp_path}/backups/.cctelegram-backup-*/passfile >> {tmp_path}/passfile\n"
        "exit 1\n"
    )
    fake.chmod(0o700)
    here.environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    url = make_url(here.database_url).set(password=r"love:la\ce")
    here.database_url = url.render_as_string(hide_password=False)
    done = await asyncio.to_thread(here.backup, tmp_path / "backups")
    assert done.returncode == 1
    arguments = (tmp_path / "arguments").read_text()
    assert "love" not in arguments
    assert "passfile=" in arguments
    content, mode = (tmp_path / "passfile").read_text().splitlines()
    assert content.endswith(r":postgres:love\:la\\ce")
    assert mode == "600"


@POSTGRES
async def test_a_restore_that_fails_puts_the_earlier_tables_back(here: Place, tmp_path: Path) -> None:
    path = await backed_up(here, tmp_path)
    ids = await filled(here)
    await asyncio.to_thread(_with_another_dump, path, tmp_path)
    done = await asyncio.to_thread(here.restore, path, "--overwrite")
    assert done.returncode == 1
    assert "pg_restore failed" in done.stderr
    assert (await states_in(here)).keys() == set(ids)


def _with_another_dump(path: Path, tmp_path: Path) -> None:
    """The same archive, with a dump that ends too early and is listed so."""
    (tmp_path / "parts").mkdir()
    listed, files = archive.extract(path, tmp_path / "parts")
    dump, *others = listed.parts
    content = files[dump.name].read_bytes()
    files[dump.name].write_bytes(content[: len(content) * 3 // 4])
    size, checksum = files[dump.name].stat().st_size, archive.checksum(files[dump.name])
    shorter = dump.model_copy(update={"size": size, "sha256": checksum})
    path.unlink()
    archive.write(path, listed.model_copy(update={"parts": (shorter, *others)}), files)


@POSTGRES
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_restore_that_is_interrupted_puts_the_earlier_tables_back(
    here: Place, tmp_path: Path, number: signal.Signals
) -> None:
    """pg_restore is replaced by a program that waits, so that the signal comes while it works.

    It runs as a shell's background job, which ignores SIGINT at its start.
    """
    path = await backed_up(here, tmp_path)
    ids = await filled(here)
    programs, began = tmp_path / "programs", tmp_path / "began"
    programs.mkdir()
    (programs / "pg_restore").write_text(
        f'#!/bin/sh\n[ "$1" = --list ] || {{ touch {began}; exec sleep 600; }}\n'
    )
    (programs / "pg_restore").chmod(0o700)
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", "trap '' INT; exec \"$@\"", "sh"),
        *(sys.executable, "-m", "services.restore", "--overwrite", path),
        env=here.variables | {"PATH": f"{programs}:/usr/bin:/bin"},
        stderr=asyncio.subprocess.PIPE,
    )
    await until(lambda: asyncio.to_thread(began.exists))
    process.send_signal(number)
    _, complaint = await process.communicate()
    assert (process.returncode, complaint.decode()) == (1, "not restored: interrupted\n")
    assert (await states_in(here)).keys() == set(ids)
    assert [path] == list(path.parent.iterdir())


@POSTGRES
async def test_a_service_does_not_start_on_a_database_that_is_half_restored(
    here: Place, there: Place, tmp_path: Path
) -> None:
    """As a restore leaves it that is killed before its last transaction."""
    await filled(here)
    path = await backed_up(here, tmp_path)
    (tmp_path / "parts").mkdir()
    listed, files = await asyncio.to_thread(archive.extract, path, tmp_path / "parts")
    await postgres_dump.restore(make_url(there.database_url), files[listed.parts[0].name])
    with pytest.raises(StartError, match="already exists"):
        await there.opened()


@on_sqlite
async def test_a_copy_has_what_is_still_in_the_log_and_no_half_transaction(
    here: Place, tmp_path: Path
) -> None:
    """The copy is made while transactions of two rows are written; it never has one without the other."""
    database = await here.opened()
    make = text("CREATE TABLE pair (n INTEGER, side TEXT)")
    await database.write("make", lambda c: c.execute(make))
    stop = asyncio.Event()

    def both(connection: Connection, number: int) -> None:
        for side in ("left", "right"):
            connection.execute(text("INSERT INTO pair VALUES (:n, :side)"), {"n": number, "side": side})

    async def write() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            await database.write("pair", partial(both, number=number))
        return number

    writing = asyncio.create_task(write())
    await database.write("pair", partial(both, number=0))
    path = await backed_up(here, tmp_path)
    stop.set()
    written = await writing
    await database.close()
    (tmp_path / "parts").mkdir()
    listed, files = archive.extract(path, tmp_path / "parts")
    connection = sqlite3.connect(files[listed.parts[0].name])
    counts = connection.execute("SELECT count(*), count(DISTINCT n) FROM pair").fetchone()
    connection.close()
    assert counts[0] == 2 * counts[1]
    assert 1 <= counts[1] <= written + 1
