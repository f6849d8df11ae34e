"""``pip install .``: the package has every file that the services need, and the command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.terminal import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


def test_it_has_every_file_of_the_services(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("services/")}
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "services").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == {name for name in there if not name.startswith("services/dashboard/ui/")}
    assert any("/migrations/" in name for name in packed)
    assert {name for name in packed if name.endswith((".html", ".css", ".js"))}


def test_the_command_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    packed = zipfile.ZipFile(wheel)
    packed.extractall(tmp_path)
    (metadata,) = [name for name in packed.namelist() if name.endswith("entry_points.txt")]
    assert "cct = services.cli.__main__:main" in packed.read(metadata).decode()
    code = "import sys; sys.path.insert(0, '.'); from services.cli.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("Usage: cct ")
