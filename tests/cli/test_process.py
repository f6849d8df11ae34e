"""``./cct`` as a process of its own: start, pipes, terminals, restarts of the suite."""

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from services.cli.exit_codes import ExitCode
from tests.cli.terminal import ROOT, Chats, ended, real
from tests.ports import free_port
from tests.services import suite as suites
from tests.services.suite import PORTS, Suite

pytestmark = pytest.mark.xdist_group("cli")


def test_it_is_plain_in_a_pipe_and_works_from_any_folder(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise AssertionError('the wrong package')")
    link = tmp_path / "cct"
    link.symlink_to(ROOT / "cct")
    done = subprocess.run(
        [link, "doctor"],
        cwd=tmp_path,
        env={**os.environ, "DATA_DIR": str(suite.data), "FORCE_COLOR": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("ok\tbridge\t")
    assert "\x1b" not in done.stdout + done.stderr


def test_it_has_colour_at_a_terminal(suite: Suite) -> None:
    shown = at_a_terminal("doctor", DATA_DIR=str(suite.data), TERM="xterm-256color")
    assert "\x1b[32m✓" in shown
    assert "\x1b" not in at_a_terminal("doctor", DATA_DIR=str(suite.data), NO_COLOR="1", TERM="dumb")


def at_a_terminal(*words: str, **variables: str) -> str:
    """What a person at a terminal sees."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [ROOT / "cct", *words], env={**os.environ, **variables}, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:  # Linux says EIO when the other end is closed
            pass
        os.close(ours)
    return shown.decode()


def test_a_closed_pipe_ends_it_without_a_word(suite: Suite) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{ROOT / 'cct'} event-types --json | head -1"],
        env={**os.environ, "DATA_DIR": str(suite.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_without_a_suite_it_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = ended(real("send", "x", CCT_URL=url))
    assert (done.code, done.out) == (ExitCode.NOT_DONE, "")
    (line,) = done.error.splitlines()
    assert line.startswith(f"cct: Cannot connect to {url}: Connection refused (the URL is from CCT_URL).")
    assert "make run" in line
    done = ended(real("doctor", CCT_URL=url))
    assert done.code == ExitCode.NO
    assert done.out.startswith("wrong\tbridge\tCannot connect")


def test_without_a_key_it_says_how_to_give_one(suite: Suite) -> None:
    done = ended(real("messages", CCT_URL=suite.urls["bridge"]))
    assert done.code == ExitCode.REFUSED
    assert "Give a key with --key or CCT_API_KEY: no key was found." in done.error


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    done = ended(real("messages", CCT_URL="127.0.0.1:8080"))
    assert done.code == ExitCode.NOT_DONE
    assert done.error == "cct: CCT_URL: write a URL such as http://127.0.0.1:8080\n"


def test_a_clone_without_an_environment_says_how_to_make_one(tmp_path: Path) -> None:
    script = tmp_path / "cct"
    script.write_text((ROOT / "cct").read_text())
    done = subprocess.run(["sh", script], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.NOT_DONE
    assert "run `make run` once" in done.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_question_is_waited_for_while_the_suite_restarts(tmp_path: Path, stop: signal.Signals) -> None:
    ports = {name: free_port() for name in PORTS}
    first = suites.start(tmp_path / "data", tmp_path / "errors", ports)
    asking = real("ask", "Deploy over a restart?", DATA_DIR=str(first.data))
    with Chats(first.urls["telegram-sandbox"]) as chats:
        chats.question(1001, "Deploy over a restart?")
    suites.end(first, stop)
    second = suites.start(tmp_path / "data", tmp_path / "errors", ports)
    try:
        with Chats(second.urls["telegram-sandbox"]) as chats:
            chats.tap(1001, "Deploy over a restart?", "Approve")
        done = ended(asking)
    finally:
        suites.end(second)
    assert (done.code, done.out) == (ExitCode.DONE, "approve\n"), done.error
