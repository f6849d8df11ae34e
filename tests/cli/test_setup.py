"""`cct setup` against the sandbox in Telegram's place, typed by a person at a terminal, and without one."""

import asyncio
import os
import pty
import select
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from services.cli import env_file
from services.cli.exit_codes import ExitCode
from services.contracts.fields import TOKEN_FORM
from tests import proxies
from tests.cli.terminal import ROOT, Chats, Ran, ended, real
from tests.ports import free_port
from tests.servers import PATIENCE_SECONDS
from tests.services.suite import Suite

pytestmark = pytest.mark.xdist_group("suite")

TOKEN = "3000000003:of-the-bot-that-is-set-up"
LONELY = "3000000005:of-a-bot-that-nobody-writes-to"
FRESH = "3000000006:of-a-bot-that-one-person-writes-to"
BOT = "@sandbox_3000000003_bot"
ADA, GRACE, TEAM = 1001, 1002, -2001


class Person:
    """A person at a terminal of the command's own."""

    def __init__(self, *words: str, **variables: str) -> None:
        self._terminal, child = pty.openpty()
        self._process = subprocess.Popen(
            [ROOT / "cct", *words],
            env={**os.environ, **variables},
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
        )
        os.close(child)
        self.seen = ""
        self._read_until = 0

    def until(self, text: str) -> None:
        """Reads until a text is shown that was not shown before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.seen.find(text, self._read_until)) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.seen}"
            assert self._read(), f"no {text!r} in:\n{self.seen}"
        self._read_until = found + len(text)

    def _read(self) -> bool:
        """Reads what is there within a second; false once the command has ended."""
        if select.select([self._terminal], [], [], 1.0)[0]:
            with suppress(OSError):  # the command has ended
                self.seen += os.read(self._terminal, 65_536).decode()
                return True
            return False
        return True

    def types(self, text: str) -> None:
        """Types a line, after deleting what an earlier key may have left in it."""
        os.write(self._terminal, f"\x15{text}\r".encode())

    def presses(self, key: str, text: str) -> None:
        """Presses a key until a text is shown: the command drops keys that come before it waits for one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._shows(text):
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.seen}"
            os.write(self._terminal, key.encode())
            again = time.monotonic() + 2.0
            while not self._shows(text) and time.monotonic() < again:
                assert self._read(), self.seen
        self.until(text)

    def _shows(self, text: str) -> bool:
        return text in self.seen[self._read_until :]

    def ended(self) -> int:
        while self._read():
            pass
        return self._process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        os.close(self._terminal)


@pytest.fixture
def url(suite: Suite, chats: Chats) -> str:
    """Of the sandbox, which has three bots that nothing polls."""
    for token in (TOKEN, LONELY, FRESH):
        chats.client.post("/control/bots", json={"token": token})
    return suite.urls["telegram-sandbox"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.fixture
def person(url: str, written: Path) -> Iterator[Person]:
    someone = Person("setup", "--api-url", url, "--file", str(written))
    yield someone
    someone.close()


def says(chats: Chats, chat_id: int, text: str) -> None:
    chats.client.post(f"/control/chats/{chat_id}/say", json={"text": text}).raise_for_status()


def test_a_person_types_the_token_writes_to_the_bot_and_looks_at_the_chat(
    person: Person, chats: Chats, url: str, written: Path
) -> None:
    written.write_text("# ours\nLOG_LEVEL=DEBUG\nTELEGRAM_CHAT_IDS=5\n")
    person.until("Token of the bot, from @BotFather in Telegram (/newbot, or /mybots): ")
    person.types("half a token")
    person.until("This is no token of a bot")
    person.until("Token of the bot, from @BotFather in Telegram (/newbot, or /mybots): ")
    person.types("3000000004:of-no-bot")
    person.until("Telegram refuses the token: there is no bot with this token. Copy it again from @BotFather")
    person.until("Token of the bot, from @BotFather in Telegram (/newbot, or /mybots): ")
    person.types(f"{TOKEN}")
    person.until(f"The bot is {BOT}")

    person.until(f"Now write to {BOT}")
    says(chats, GRACE, "hello")
    person.until(f"1: Grace (private, id {GRACE})")
    person.until("Press its number")
    says(chats, TEAM, f"/start{BOT}")
    person.presses("\r", f"2: Team (group, id {TEAM})")
    person.until("Press its number")
    person.presses("2", "Is it there?")
    assert chats.messages(TEAM)[-1]["text"].startswith("CCTelegram is connected")
    person.types("n")
    person.until("it may be muted or archived")
    person.until(f"Team (group, id {TEAM})")
    person.until("Press its number")
    person.presses("1", "Is it there?")
    person.types("y")
    person.until(f"Written: {written}")
    assert person.ended() == ExitCode.DONE

    assert dotenv_values(written) == {
        "LOG_LEVEL": "DEBUG",
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_IDS": str(TEAM),
        "TELEGRAM_ALLOWED_USERS": str(ADA),
        "TELEGRAM_API_URL": url,
    }
    assert written.read_text().startswith("# ours\n")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert TOKEN not in person.seen
    assert "of-no-bot" not in person.seen


def test_a_person_is_asked_for_a_proxy_where_telegram_is_not_reached(url: str, written: Path) -> None:
    someone = Person(
        "setup",
        "--chat",
        str(ADA),
        "--file",
        str(written),
        "--api-url",
        "http://127.0.0.1:9",
        TELEGRAM_BOT_TOKEN=TOKEN,
    )
    try:
        someone.until("http://127.0.0.1:9 is not reached: ")
        someone.until("URL of the proxy, or Enter to try again: ")
        someone.types(f"ftp://127.0.0.1:{free_port()}")
        someone.until("--proxy: write http://host:port or socks5://user:password@host:port")
        assert someone.ended() == ExitCode.NO_RESULT
    finally:
        someone.close()
    assert TOKEN not in someone.seen
    assert not written.exists()


def run(*words: str, **variables: str) -> Ran:
    return ended(real("setup", *words, **{"TELEGRAM_BOT_TOKEN": TOKEN} | variables))


def until_it_waits(process: "subprocess.Popen[str]") -> None:
    """Reads what the command prints until it waits for a chat."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        if "Now write to" in line:
            return
    raise AssertionError("it ended before it waited")


@pytest.mark.parametrize(
    ("words", "people"),
    [
        (["--chat", str(ADA)], str(ADA)),
        (["--chat", str(TEAM)], ""),
        (["--chat", str(TEAM), "--user", str(GRACE)], str(GRACE)),
    ],
)
def test_the_person_of_an_earlier_set_up_may_decide_no_longer(
    url: str, written: Path, words: list[str], people: str
) -> None:
    written.write_text("TELEGRAM_ALLOWED_USERS=5\n")
    done = run("--api-url", url, "--file", str(written), *words)
    assert done.code == 0, done.error
    assert dotenv_values(written)["TELEGRAM_ALLOWED_USERS"] == people
    assert ("No person may answer questions" in done.error) == (not people)


def test_line_ends_and_a_link_stay(url: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.env"
    kept.write_bytes(b"# ours\r\nLOG_LEVEL=DEBUG\r\n")
    (tmp_path / ".env").symlink_to(kept)
    assert run("--api-url", url, "--file", str(tmp_path / ".env"), "--chat", str(ADA)).code == 0
    assert (tmp_path / ".env").is_symlink()
    assert kept.read_bytes().startswith(b"# ours\r\nLOG_LEVEL=DEBUG\r\n")
    assert dotenv_values(kept)["TELEGRAM_BOT_TOKEN"] == TOKEN


def test_a_file_that_cannot_be_written_is_named(url: str, tmp_path: Path) -> None:
    done = run("--api-url", url, "--file", str(tmp_path / "none" / ".env"), "--chat", str(ADA))
    assert done.code == ExitCode.NOT_DONE
    assert "--file: cannot write" in done.error


def test_without_a_person_the_first_chat_that_writes_is_taken(chats: Chats, url: str, written: Path) -> None:
    written.write_text("TELEGRAM_ALLOWED_USERS=5\n")  # of an earlier set-up in a group
    # Who wrote before the start is not taken: it may be anybody.
    says(chats, ADA, "a stranger was here before")
    process = real(
        "setup",
        "--first-chat",
        "--json",
        "--file",
        str(written),
        TELEGRAM_BOT_TOKEN=FRESH,
        TELEGRAM_API_URL=url,
    )
    until_it_waits(process)
    says(chats, GRACE, "it is me")
    done = ended(process)
    assert done.code == 0, done.error
    assert done.json == {"bot": "sandbox_3000000006_bot", "chat_id": GRACE, "file": str(written)}
    assert dotenv_values(written) == {
        "TELEGRAM_BOT_TOKEN": FRESH,
        "TELEGRAM_CHAT_IDS": str(GRACE),
        "TELEGRAM_ALLOWED_USERS": str(GRACE),
        "TELEGRAM_API_URL": url,
    }


@pytest.mark.parametrize(
    ("words", "variables", "code", "error"),
    [
        ([], {}, ExitCode.NO_RESULT, "--chat: give the id of the chat, or --first-chat"),
        (["--chat", "1001"], {"TELEGRAM_BOT_TOKEN": ""}, ExitCode.NO_RESULT, "set TELEGRAM_BOT_TOKEN"),
        (["--chat", "1001"], {"TELEGRAM_BOT_TOKEN": "x"}, ExitCode.REFUSED, "This is no token of a bot"),
        (["--chat", "1001"], {"TELEGRAM_BOT_TOKEN": "4:wrong"}, ExitCode.REFUSED, "refuses the token"),
        (["--chat", "424242"], {}, ExitCode.REFUSED, "chat 424242: Bad Request: chat not found (400)"),
        (
            ["--first-chat", "--within", "1s"],
            {"TELEGRAM_BOT_TOKEN": LONELY},
            ExitCode.NO_RESULT,
            "No chat wrote to @sandbox_3000000005_bot in time",
        ),
        (["--chat", "1001", "--proxy", "x"], {}, ExitCode.NO_RESULT, "--proxy: write http://host:port"),
    ],
)
def test_without_a_person_a_problem_ends_it_with_one_line(  # noqa: PLR0917 - one case of a table
    url: str, written: Path, words: list[str], variables: dict[str, str], code: ExitCode, error: str
) -> None:
    done = run("--api-url", url, "--file", str(written), "--quiet", *words, **variables)
    assert (done.code, done.out) == (code, ""), done.error
    (line,) = done.error.splitlines()
    assert error in line
    assert TOKEN not in line
    assert not written.exists()


def test_a_bot_whose_updates_another_program_receives(suite: Suite, written: Path) -> None:
    """The suite itself polls the sandbox's first bot."""
    done = run(
        "--first-chat",
        "--file",
        str(written),
        TELEGRAM_API_URL=suite.urls["telegram-sandbox"],
        TELEGRAM_BOT_TOKEN="1000000001:sandbox-token-for-local-use-only",
    )
    assert done.code == ExitCode.REFUSED
    assert "Another program receives this bot's updates: stop the suite" in done.error


def test_the_commands_of_the_page_run_as_they_are_written(url: str, chats: Chats, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "real-bot.md").read_text()
    given, *lines = page.partition("## Without a terminal\n\n```sh\n")[2].partition("```")[0].splitlines()
    assert lines == ["./cct setup --chat 1001", "./cct setup --first-chat --within 5m --json"]
    name, _, token = given.removeprefix("export ").partition("=")
    assert TOKEN_FORM.fullmatch(token)
    (tmp_path / "cct").symlink_to(ROOT / "cct")
    for line in lines:
        with subprocess.Popen(
            ["bash", "-c", f"{line} --file written.env"],
            cwd=tmp_path,
            env={**os.environ, "TELEGRAM_API_URL": url, name: TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            if "--first-chat" in line:
                until_it_waits(process)
                says(chats, GRACE, "hello")
            done = ended(process)
        assert done.code == 0, (line, done.error)
        assert dotenv_values(tmp_path / "written.env")["TELEGRAM_BOT_TOKEN"] == TOKEN


async def test_it_reaches_telegram_through_a_proxy_and_writes_its_url(url: str, written: Path) -> None:
    async with proxies.running(proxies.socks5, "ada:hunter2") as proxy:
        proxy.redirect = url.removeprefix("http://")
        through = f"socks5://ada:hunter2@127.0.0.1:{proxy.port}"
        words = ("--api-url", "http://telegram.localhost:80", "--file", str(written), "--chat", str(ADA))
        done = await asyncio.to_thread(run, *words, TELEGRAM_PROXY_URL=through)
    assert done.code == 0, done.error
    assert set(proxy.opened) == {"telegram.localhost:80"}
    assert dotenv_values(written)["TELEGRAM_PROXY_URL"] == through
    assert "hunter2" not in done.out + done.error


VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="'\\$"), max_size=20
).filter(str.isprintable)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), VALUES, max_size=4), st.data())
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: Any, data: Any
) -> None:
    path = tmp_path_factory.mktemp("written") / ".env"
    env_file.write(path, dict.fromkeys(values, "before") | {"OTHER_ONE": "stays"})
    env_file.write(path, values)
    assert dotenv_values(path, interpolate=False) == {**values, "OTHER_ONE": "stays"}
