"""docs/recipes.md: every recipe runs against a real suite, and sends what it says."""

import configparser
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.terminal import ROOT, Chats, Terminal
from tests.services.suite import Suite
from tests.stack import servers

pytestmark = pytest.mark.xdist_group("cli")

PAGE = (ROOT / "docs" / "recipes.md").read_text()
ADA = 1001


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def shell(tmp_path: Path, suite: Suite) -> dict[str, str]:
    """The environment of a machine with `cct`, and the programs that the recipes call."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "cct").symlink_to(ROOT / "cct")
    for name, text in {"deploy.sh": "touch deployed", "dump.sh": "echo rows", "make": "false"}.items():
        for folder in (tmp_path, programs):
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
    key = (suite.data / "api_key").read_text().strip()
    variables = {"CCT_URL": suite.urls["bridge"], "CCT_API_KEY": key}
    return {**os.environ, **variables, "PATH": f"{programs}:{os.environ['PATH']}"}


def run(text: str, folder: Path, environment: dict[str, str]) -> int:
    return subprocess.run(["bash", "-c", text], cwd=folder, env=environment, check=False).returncode


def texts(chats: Chats, cct: Terminal, key: str) -> list[str]:
    """The messages of a chat that have a text, once all that was sent is delivered."""
    cct.ok("send", "After the recipe", "--wait")
    return [message.get("text", "") for message in chats.messages(ADA) if key in message.get("text", "")]


def test_every_shell_recipe_runs(shell: dict[str, str], tmp_path: Path, chats: Chats, cct: Terminal) -> None:
    answered = threading.Event()

    def answer() -> None:
        while not answered.wait(0.2):
            chats.tap_if_asked(ADA, "Deploy 2.1 to production?", "Approve")

    person = threading.Thread(target=answer)
    person.start()
    try:
        found = blocks("sh")
        assert len(found) >= 5
        for recipe in found:
            assert run(recipe, tmp_path, shell) == 0, recipe
    finally:
        answered.set()
        person.join(30)
    assert (tmp_path / "deployed").exists()
    assert (tmp_path / "backup.sql").read_text() == "rows\n"
    assert any("Backup done" in text for text in texts(chats, cct, "Backup"))
    (moved,) = texts(chats, cct, "Migration")
    assert "All tables are moved." in moved


def test_a_backup_that_fails_says_so(
    shell: dict[str, str], tmp_path: Path, chats: Chats, cct: Terminal
) -> None:
    (tmp_path / "dump.sh").write_text("#!/bin/sh\nexit 3\n")
    (script,) = [block for block in blocks("sh") if block.startswith("#!")]
    assert run(script, tmp_path, shell) == 3
    assert any("Backup failed" in text for text in texts(chats, cct, "Backup"))


def test_the_cron_line_reports_a_failure(
    shell: dict[str, str], tmp_path: Path, chats: Chats, cct: Terminal
) -> None:
    (line,) = blocks("crontab")
    command = line.split(maxsplit=5)[5].replace("/usr/local/bin/nightly.sh", "false")
    assert run(command, tmp_path, shell) == 0
    assert texts(chats, cct, "nightly.sh failed")


def test_the_unit_of_systemd_names_the_unit_that_failed(
    shell: dict[str, str], tmp_path: Path, chats: Chats, cct: Terminal
) -> None:
    (unit,) = blocks("ini")
    read = configparser.RawConfigParser(strict=True)
    read.read_string(unit)
    command = read["Service"]["ExecStart"].replace("%i", "nginx.service").replace("%H", "web-1")
    assert run(command.replace("/usr/local/bin/", ""), tmp_path, shell) == 0
    assert texts(chats, cct, "nginx.service failed on web-1")


def test_the_jobs_of_github_and_gitlab_report_a_failure_once(
    shell: dict[str, str], tmp_path: Path, chats: Chats, cct: Terminal
) -> None:
    documents = [yaml.safe_load(block) for block in blocks("yaml")]
    steps: list[dict[str, Any]] = documents[0]["jobs"]["test"]["steps"]
    (github,) = [step["run"] for step in steps if step.get("if") == "failure()"]
    (gitlab,) = documents[1]["notify"]["script"]
    variables = {
        "GITHUB_RUN_ID": "4711",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_REPOSITORY": "ada/engine",
        "GITHUB_REF_NAME": "main",
        "GITHUB_SERVER_URL": "https://github.com",
        "CI_PIPELINE_ID": "815",
        "CI_PROJECT_PATH": "grace/compiler",
        "CI_COMMIT_REF_NAME": "main",
        "CI_PIPELINE_URL": "https://gitlab.example.com/grace/compiler/-/pipelines/815",
    }
    for _ in range(2):
        assert run(github, tmp_path, shell | variables) == 0
        assert run(gitlab, tmp_path, shell | variables) == 0
    (failed,) = texts(chats, cct, "ada/engine: tests failed")
    assert "https://github.com/ada/engine/actions/runs/4711" in failed
    assert len(texts(chats, cct, "grace/compiler: pipeline failed")) == 1


def test_the_receiver_of_alertmanager_is_valid(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("yaml") if block.startswith("receivers:")]
    (tmp_path / "alertmanager.yml").write_text(block)
    checked = servers.run("amtool", "check-config", tmp_path / "alertmanager.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
