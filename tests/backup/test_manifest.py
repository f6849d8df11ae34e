import orjson
import pytest

from services.backup import manifest
from services.backup.manifest import BackupError, Kind, Manifest, Part

KNOWN = {"outbox_version": ("0001", "0002", "0003"), "webhooks_version": ("0001",)}


def part(name: str = "databases/bridge.db", **changes: object) -> Part:
    fields: dict[str, object] = {
        "name": name,
        "kind": Kind.SQLITE,
        "size": 1,
        "sha256": "0" * 64,
        "mode": 0o600,
        "taken_at": 1.0,
    }
    return Part.model_validate(fields | changes)


def listed(*parts: Part) -> Manifest:
    return Manifest(version="9.9.0", created_at="2026-01-31T08:00:00.000Z", parts=parts)


def test_a_backup_of_the_same_or_an_older_version_is_taken() -> None:
    revisions = {"outbox_version": "0002", "webhooks_version": "0001"}
    manifest.check_revisions(listed(part(revisions=revisions)), KNOWN)


@pytest.mark.parametrize(
    ("revisions", "said"),
    [
        (
            {"outbox_version": "0004"},
            "outbox_version is at 0004, and this program knows revisions up to 0003",
        ),
        ({"plans_version": "0001"}, "plans_version is at 0001, and this program knows no such table"),
    ],
)
def test_a_backup_of_a_newer_program_is_refused_and_names_its_version(
    revisions: dict[str, str], said: str
) -> None:
    with pytest.raises(BackupError) as caught:
        manifest.check_revisions(listed(part(revisions=revisions)), KNOWN)
    first, last = str(caught.value).splitlines()
    assert first == f"databases/bridge.db: {said}"
    assert last == "the backup is of a newer program: restore it with version 9.9.0"


@pytest.mark.parametrize(
    "name",
    [
        "../api_key",
        "files/../../etc/passwd",
        "/etc/passwd",
        "files//etc/passwd",
        "files/.ssh",
        "files/a/.hidden",
        "other/api_key",
        "files/",
        "files/a\\b",
        "files/a/b/c/d/e",
    ],
)
def test_a_name_that_leads_out_of_the_data_folder_is_refused(name: str) -> None:
    text = listed(part()).model_dump_json().replace("databases/bridge.db", orjson.dumps(name).decode()[1:-1])
    with pytest.raises(BackupError, match="is not one that this version can read"):
        manifest.parse(text.encode())


def test_a_manifest_is_read_as_it_was_written() -> None:
    made = listed(part(messages={"queued": 3}), part("files/bridge/archive/.place", kind=Kind.FILE))
    assert manifest.parse(made.model_dump_json().encode()) == made


def test_a_later_format_is_refused() -> None:
    text = listed().model_dump_json().replace('"format":1', '"format":2')
    with pytest.raises(BackupError, match="format"):
        manifest.parse(text.encode())
