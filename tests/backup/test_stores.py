import re
from pathlib import Path

import pytest

from services.alert_relay import app as relay_app
from services.backup import stores
from services.backup.manifest import BackupError
from services.backup.settings import BackupSettings
from services.bridge import app as bridge_app

ROOT = Path(__file__).parents[2]


def settings(folder: Path, database_url: str = "") -> BackupSettings:
    return BackupSettings.model_validate({"data_dir": folder, "database_url": database_url})


def create(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def test_every_name_in_the_data_folder_is_backed_up_or_left_out_with_a_reason() -> None:
    """A service that begins to keep something says here whether a backup needs it."""
    used = {
        name
        for path in (ROOT / "services").rglob("*.py")
        for name in re.findall(r'data_dir / "([\w.]+)"', path.read_text(encoding="utf-8"))
    }
    assert {"api_key", "archive", "logs"} <= used
    assert used - {*stores.FILES, stores.ARCHIVE} == stores.LEFT_OUT.keys()


def test_each_package_with_tables_has_a_version_table_of_its_own() -> None:
    """It has the last name of the package, and packages of one name would share it in one database."""
    packages = {*bridge_app.PACKAGES, *relay_app.PACKAGES}
    assert set(stores.PACKAGES.values()) == packages


def test_the_suite_s_one_folder_is_found(tmp_path: Path) -> None:
    create(tmp_path, "bridge.db", "bridge.db-wal", "alert_relay.db", "api_key", "signing_master")
    create(tmp_path, "archive/.place", "archive/2026-01-31.jsonl.gz", "logs/suite.log", "dashboard_secret")
    found = stores.find(settings(tmp_path))
    assert set(found.sqlite) == {"bridge.db", "alert_relay.db"}
    assert set(found.files) == {
        "api_key",
        "signing_master",
        "archive/.place",
        "archive/2026-01-31.jsonl.gz",
    }


def test_folders_of_services_below_it_are_found(tmp_path: Path) -> None:
    """As the volumes of Docker Compose are mounted."""
    create(tmp_path, "alert-relay/alert_relay.db", "bridge/signing_master", "secrets/api_key")
    create(tmp_path, "bridge/archive/2026-01-31.jsonl.gz", "secrets/postgres_password")
    found = stores.find(settings(tmp_path, "postgresql://ada:lovelace@db/events"))
    assert set(found.sqlite) == {"alert-relay/alert_relay.db"}
    assert set(found.files) == {
        "bridge/signing_master",
        "secrets/api_key",
        "bridge/archive/2026-01-31.jsonl.gz",
    }
    assert found.postgres is not None


def test_a_sqlite_database_elsewhere_is_found_once(tmp_path: Path) -> None:
    create(tmp_path, "data/bridge.db", "other/events.db")
    found = stores.find(settings(tmp_path / "data", f"sqlite:///{tmp_path}/other/events.db"))
    assert found.sqlite == {
        "bridge.db": tmp_path / "data" / "bridge.db",
        stores.ELSEWHERE: tmp_path / "other" / "events.db",
    }
    same = stores.find(settings(tmp_path / "data", f"sqlite:///{tmp_path}/data/bridge.db"))
    assert set(same.sqlite) == {"bridge.db"}


def test_nothing_to_back_up_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"there is no database in .* \(DATA_DIR\)"):
        stores.find(settings(tmp_path))


@pytest.mark.parametrize("url", ["nonsense", "mysql://ada:lovelace@db/events", "postgresql:///"])
def test_a_wrong_url_is_one_line_without_the_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(BackupError) as caught:
        stores.find(settings(tmp_path, url))
    assert str(caught.value).startswith("DATABASE_URL: ")
    assert "lovelace" not in str(caught.value)
