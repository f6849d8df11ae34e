import os
import socket
from pathlib import Path

import pytest

from services.dashboard.app import create_app
from services.dashboard.settings import DashboardSettings
from services.kit.settings import StartError, load
from tests.forking import Programs


@pytest.mark.parametrize(
    ("name", "value", "error_text"),
    [
        ("MONITORING_SERVER_PORT", "eighty", "write a whole number"),
        ("MONITORING_SERVER_PORT", "70000", "write 65535 or less"),
        ("DASHBOARD_UPDATE_INTERVAL", "1", "write 100 or more"),
        ("DASHBOARD_HISTORY_MINUTES", "0", "write 1 or more"),
        ("DASHBOARD_AUTH_ENABLED", "maybe", "write true or false"),
        ("DASHBOARD_PASSWORD", "short", "write at least 8 characters"),
        ("BRIDGE_URL", "bridge:8080", "write a URL that begins with 'http' or 'https'"),
        ("GRAFANA_UI_URL", "javascript:alert(1)", "write a URL that begins with 'http' or 'https'"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, error_text: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as error:
        load(DashboardSettings)
    assert str(error.value).startswith(f"{name}: {error_text}")
    assert "short" not in str(error.value)


def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    for name, value in {
        "MONITORING_SERVER_PORT": "9000",
        "DASHBOARD_UPDATE_INTERVAL": "500",
        "DASHBOARD_HISTORY_MINUTES": "30",
        "DASHBOARD_AUTH_ENABLED": "false",
        "DASHBOARD_USERNAME": "anna",
        "DASHBOARD_PASSWORD_FILE": str(tmp_path / "password"),
        "BRIDGE_URL": "http://bridge:8080/",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(DashboardSettings)
    assert (settings.port, settings.update_interval, settings.history_minutes) == (9000, 500, 30)
    assert (settings.auth_enabled, settings.username) == (False, "anna")
    assert settings.password is not None
    assert settings.password.get_secret_value() == "from a file"
    assert settings.bridge_url == "http://bridge:8080"


@pytest.mark.xdist_group("programs")
def test_a_port_in_use_is_one_readable_line(tmp_path: Path, programs: Programs) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ours = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "MONITORING_SERVER_PORT": str(port)}
        ended = programs.run("services.dashboard", environment=ours)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"cannot start: MONITORING_SERVER_PORT: dashboard cannot listen on 127.0.0.1:{port}: "
        "Address already in use\n"
    )


def test_a_data_folder_that_is_a_file_is_one_readable_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = DashboardSettings(port=0, data_dir=tmp_path / "file")
    with pytest.raises(StartError, match="DATA_DIR: cannot keep"):
        create_app(settings)
