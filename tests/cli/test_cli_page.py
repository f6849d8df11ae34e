"""docs/cli.md: every command in it runs against a real suite, and every command has its example in it."""

import json
import os
import re
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.command import EXAMPLES
from services.cli.exit_codes import ExitCode
from tests.cli.terminal import ROOT, Chats, Terminal, fire
from tests.services.suite import Suite

pytestmark = pytest.mark.xdist_group("cli")

PAGE = (ROOT / "docs" / "cli.md").read_text()


def commands(text: str) -> list[str]:
    """The lines of a page's shell blocks that call the command; in a clone it is ``./cct``."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("./") for line in lines if re.search(r"(^|\| |\./)cct ", line)]


LINES = commands(PAGE)
OTHER_PAGES = {
    name: commands((ROOT / name).read_text())
    for name in (
        "README.md",
        "docs/intake.md",
        "docs/sending.md",
        "docs/asking.md",
        "docs/maintenance.md",
        "docs/troubleshooting.md",
    )
}
WATCHES = [line for line in LINES if line.startswith("cct watch")]
#: A person types at this one: tests/cli/test_setup.py.
TYPED = "cct setup"
#: The question that a text answers, and the text.
ASKED_FOR_TEXT, OWN_WORDS = "Why did the print stop?", "The nozzle was blocked"
#: Questions of the pages, and how they are answered.
ANSWERS = {"Deploy 2.1?": "Approve", "Which one?": "Blue", "Delete the old database?": "Approve"}


@pytest.fixture
def shell(tmp_path: Path, suite: Suite) -> dict[str, str]:
    """The environment of a shell that has `cct`, and a `make` that only says what it does."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "cct").symlink_to(ROOT / "cct")
    (programs / "make").write_text('#!/bin/sh\necho "made $*"\n')
    (programs / "make").chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DATA_DIR": str(suite.data)}


@pytest.fixture
def answering(suite: Suite) -> Iterator[None]:
    """Somebody answers the questions of the pages whenever they are asked."""
    done = threading.Event()

    def answer() -> None:
        with Chats(suite.urls["telegram-sandbox"]) as chats:
            while not done.wait(0.2):
                chats.reply_if_asked(1001, ASKED_FOR_TEXT, OWN_WORDS)
                for title, label in ANSWERS.items():
                    for person in (1001, 1002):
                        chats.tap_if_asked(person, title, label)

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    done.set()
    thread.join(30)


def run(lines: list[str], shell: dict[str, str], folder: Path) -> str:
    """Runs lines as a person would, and returns what they printed."""
    printed = ""
    for line in lines:
        done = subprocess.run(
            ["bash", "-ec", f"set -o pipefail; {line}"],
            env=shell,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "\x1b" not in done.stdout + done.stderr, line
        printed += done.stdout
    return printed


def test_every_command_of_the_page_runs(
    suite: Suite, shell: dict[str, str], tmp_path: Path, answering: None
) -> None:
    assert len(LINES) > 20
    fire(suite, "AlertOfThePage")
    for name in ("report.pdf", "coverage.txt"):
        (tmp_path / name).write_bytes(b"%PDF-1.7 of the page")
    printed = run([line for line in LINES if line not in (*WATCHES, TYPED)], shell, tmp_path)
    assert "approve\nmade deploy\n" in printed
    assert "they have it" in printed
    assert (tmp_path / "messages.csv").exists()


@pytest.mark.parametrize("name", OTHER_PAGES)
def test_every_command_of_another_page_runs(
    shell: dict[str, str], tmp_path: Path, answering: None, name: str
) -> None:
    assert OTHER_PAGES[name]
    run(OTHER_PAGES[name], shell, tmp_path)


@pytest.mark.parametrize("line", WATCHES)
def test_what_happens_is_followed_until_the_count_or_ctrl_c(
    shell: dict[str, str], cct: Terminal, line: str
) -> None:
    with subprocess.Popen(
        ["bash", "-c", f"exec {line}"],
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        while not _readable(watching):
            cct.ok("send", "Watched", "--wait")
        first = watching.stdout.readline()
        assert first.count("\t") == 4 or "message_id" in json.loads(first)
        if "--count" not in line:
            watching.send_signal(signal.SIGINT)
        _, error = watching.communicate(timeout=30)
    assert watching.returncode == (0 if "--count" in line else 130)
    assert "Traceback" not in error


def _readable(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.1)[0])


def test_every_command_has_its_example_on_the_page() -> None:
    assert [example for example in EXAMPLES.values() if example not in LINES] == []


def test_every_exit_code_is_on_the_page() -> None:
    listed = re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)
    assert [int(code) for code in listed] == [code.value for code in ExitCode]
