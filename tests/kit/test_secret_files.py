"""The secrets of a deployment are made once, and each opens only to its group."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.kit.secret_files import SecretFile, create

GROUP = os.getgid()
WANTED = [
    SecretFile("api_key", GROUP),
    SecretFile("password", GROUP),
    SecretFile("url", GROUP, "postgresql://user:{password}@host/name"),
]


def test_each_secret_is_a_random_key_in_a_file_that_its_group_reads(tmp_path: Path) -> None:
    assert create(tmp_path, WANTED, {}) == ["api_key", "password", "url"]
    key, password = (tmp_path / "api_key").read_text(), (tmp_path / "password").read_text()
    assert key.startswith("cct_")
    assert key != password
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.stat().st_gid == GROUP


def test_a_template_holds_the_other_secrets(tmp_path: Path) -> None:
    create(tmp_path, WANTED, {})
    password = (tmp_path / "password").read_text()
    assert (tmp_path / "url").read_text() == f"postgresql://user:{password}@host/name"


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    create(tmp_path, WANTED, {})
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert create(tmp_path, WANTED, {}) == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_value_from_the_environment_wins_and_what_is_made_of_it_follows(tmp_path: Path) -> None:
    create(tmp_path, WANTED, {})
    assert create(tmp_path, WANTED, {"PASSWORD": "chosen", "API_KEY": ""}) == ["password", "url"]
    assert (tmp_path / "url").read_text() == "postgresql://user:chosen@host/name"


def test_a_start_that_was_broken_off_leaves_no_half_secret(tmp_path: Path) -> None:
    (tmp_path / ".api_key.draft").write_text("half")
    create(tmp_path, WANTED, {})
    assert (tmp_path / "api_key").read_text().startswith("cct_")
    assert not (tmp_path / ".api_key.draft").exists()


@pytest.mark.parametrize("text", ["api_key", "api_key:root", "../x:1", ":1"])
def test_a_secret_that_is_asked_for_wrongly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write NAME:GROUP"):
        SecretFile.parse(text)


def test_the_command_makes_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.kit.secret_files", str(tmp_path), f"one:{GROUP}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == "secrets created: one\n"
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert again.stderr == "secrets created: none, all exist\n"
