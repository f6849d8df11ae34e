"""The command `cct` in this process or in one of its own, and people who answer in the sandbox's chats."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
from typer.testing import CliRunner

from services.cli.app import COMMANDS
from services.cli.command import root
from tests.alert_relay.payloads import alert, webhook
from tests.servers import PATIENCE_SECONDS
from tests.services.suite import Suite

ROOT = Path(__file__).parents[2]
assert COMMANDS


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def cells(self) -> list[list[str]]:
        return [line.split("\t") for line in self.lines]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Runs the command in this process."""

    def run(self, *words: str, text: str | None = None) -> Ran:
        done = CliRunner().invoke(root, words, input=text, prog_name="cct")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    def ok(self, *words: str, text: str | None = None) -> Ran:
        """Runs a command that has to succeed."""
        done = self.run(*words, text=text)
        assert done.code == 0, done
        return done


def real(*words: str, **variables: str) -> "subprocess.Popen[str]":
    """Starts ``./cct`` in a process of its own."""
    return subprocess.Popen(
        [ROOT / "cct", *words],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Ran:
    out, error = process.communicate(timeout=PATIENCE_SECONDS * 2)
    return Ran(process.returncode, out, error)


class Chats:
    """What people do in the chats of a sandbox."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def messages(self, chat_id: int) -> list[dict[str, Any]]:
        answer = self.client.get(f"/api/chats/{chat_id}/messages").raise_for_status()
        return [shown["message"] for shown in answer.json()["messages"]]

    def questions(self, chat_id: int, title: str) -> list[int]:
        """The ids of the messages that show a question with buttons."""
        return [
            int(message["message_id"])
            for message in self.messages(chat_id)
            if title in message.get("text", "") and "reply_markup" in message
        ]

    def question(self, chat_id: int, title: str) -> int:
        """Waits for a question, and returns the id of its newest message."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := self.questions(chat_id, title)):
            assert time.monotonic() < deadline, f"no question {title!r} in {self.messages(chat_id)}"
        return found[-1]

    def tap(self, chat_id: int, title: str, label: str) -> None:
        """Waits for a question, and taps one of its buttons."""
        self._tap(chat_id, self.question(chat_id, title), label)

    def tap_if_asked(self, chat_id: int, title: str, label: str) -> None:
        for message_id in self.questions(chat_id, title):
            self._tap(chat_id, message_id, label)

    def reply_if_asked(self, chat_id: int, title: str, text: str) -> None:
        for message in self.messages(chat_id):
            if title in message.get("text", "") and "Reply with a text" in message.get("text", ""):
                body = {"text": text, "reply_to": message["message_id"]}
                self.client.post(f"/control/chats/{chat_id}/say", json=body)

    def _tap(self, chat_id: int, message_id: int, label: str) -> None:
        path = f"/control/chats/{chat_id}/messages/{message_id}/tap"
        self.client.post(path, json={"text": label})

    @contextmanager
    def answering(self, chat_id: int, title: str, label: str) -> Iterator[None]:
        """Answers a question that is asked in the block."""
        thread = threading.Thread(target=self.tap, args=(chat_id, title, label))
        thread.start()
        yield
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def fire(suite: Suite, name: str) -> None:
    """An alert fires: alert-relay gets a webhook of Alertmanager's."""
    body = webhook(alert(name, name=name, starts_at=time.time()))
    url = f"{suite.urls['alert-relay']}/webhook/alert"
    httpx.post(url, json=body, headers=suite.key, timeout=30).raise_for_status()
