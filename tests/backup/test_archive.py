import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from services.backup import archive
from services.backup.manifest import BackupError, Kind, Manifest, Part

CONTENT = {"databases/bridge.db": b"pages" * 50_000, "files/api_key": b"cct_a-key\n"}


def made(folder: Path, content: dict[str, bytes] | None = None) -> tuple[Path, Manifest]:
    """An archive of these parts; the content may differ from what the manifest says."""
    folder.mkdir(exist_ok=True)
    parts, files = [], {}
    for number, (name, expected) in enumerate(CONTENT.items()):
        files[name] = folder / str(number)
        files[name].write_bytes(expected)
        checksum, size = archive.checksum(files[name]), len(expected)
        parts.append(Part(name=name, kind=Kind.FILE, size=size, sha256=checksum, mode=0o600, taken_at=1.0))
        files[name].write_bytes((content or {}).get(name, expected))
    listed = Manifest(version="1", created_at="2026-01-31T08:00:00.000Z", parts=tuple(parts))
    path = folder / archive.name_of(1_769_846_400.0)
    archive.write(path, listed, files)
    return path, listed


def test_what_is_extracted_is_what_was_written(tmp_path: Path) -> None:
    path, listed = made(tmp_path)
    (tmp_path / "out").mkdir()
    found, files = archive.extract(path, tmp_path / "out")
    assert found == listed
    assert {name: file.read_bytes() for name, file in files.items()} == CONTENT
    assert archive.verify(path) == archive.read_manifest(path) == listed


def test_only_its_owner_can_read_it_and_its_name_has_its_time(tmp_path: Path) -> None:
    path, _ = made(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == "cctelegram-20260131T080000Z.tar.gz"
    assert archive.archives_in(tmp_path) == [path]


def test_a_plain_tar_reads_it(tmp_path: Path) -> None:
    """People can look into it, and take a key out of it, without this program."""
    path, _ = made(tmp_path)
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["manifest.json", *CONTENT]
        member = tar.extractfile("files/api_key")
        assert member is not None
        assert member.read() == CONTENT["files/api_key"]


def test_a_part_with_other_content_is_damaged(tmp_path: Path) -> None:
    other = b"PAGES" * 50_000
    path, _ = made(tmp_path, {"databases/bridge.db": other})
    with pytest.raises(BackupError, match=r"databases/bridge.db is damaged: its checksum is another one"):
        archive.verify(path)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def without_the_end(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [flipped, without_the_end, lambda _: b"", lambda _: b"a letter\n" * 99])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, _ = made(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BackupError) as caught:
        archive.verify(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_another_archive_is_no_backup(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("letter.txt"))
    (tmp_path / "other.tar.gz").write_bytes(gzip.compress(buffer.getvalue()))
    with pytest.raises(BackupError, match=r"it is no backup: it does not begin with manifest.json"):
        archive.verify(tmp_path / "other.tar.gz")


def test_a_part_that_cannot_be_unpacked_is_not_called_damaged(tmp_path: Path) -> None:
    path, _ = made(tmp_path)
    with pytest.raises(FileNotFoundError):
        archive.extract(path, tmp_path / "none")


def test_nothing_is_left_of_an_archive_that_cannot_be_written(tmp_path: Path) -> None:
    """The disk may be full, and the services need what room there is."""
    path, listed = made(tmp_path / "sources")
    with pytest.raises(FileNotFoundError):
        archive.write(tmp_path / path.name, listed, dict.fromkeys(CONTENT, tmp_path / "none"))
    assert [name.name for name in tmp_path.iterdir()] == ["sources"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"none.tar.gz: there is no such file"):
        archive.verify(tmp_path / "none.tar.gz")
