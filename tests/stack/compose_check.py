"""Tests compose.yaml: builds and starts the stack, sends an event and an alert, scales it, stops it.

``python -m tests.stack.compose_check [--override FILE] [--bind ADDRESS] [--keep]``

It uses another compose project, so that a stack in use is not touched, and removes its volumes at the end.
The ports are those of the stack; if they are in use on 127.0.0.1, pass another loopback address
(``--bind 127.0.0.2``).
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.backup import page
from tests.stack.servers import REPOSITORY, until

PROJECT = "cctelegram-check"
CHAT = 1001
#: A machine that starts fifteen containers at once answers slowly.
ANSWER_SECONDS = 30
START_SECONDS = 300.0


class CheckError(Exception):
    """A check failed; the text says which, in one sentence."""


@dataclass(frozen=True)
class Stack:
    """The compose project."""

    files: Sequence[str]
    bind: str

    @property
    def command(self) -> list[str]:
        """The beginning of every command: without settings, neither .env nor variables of this shell."""
        command = ["docker", "compose", "--project-name", PROJECT, "--env-file", os.devnull]
        for file in self.files:
            command += ["--file", str(REPOSITORY / file)]
        return command

    def compose(self, *arguments: str, seconds: float = START_SECONDS) -> str:
        """Runs docker compose and returns its output.

        Raises:
            CheckError: it failed, or took too long.
        """
        return self.run([*self.command, *arguments], f"docker compose {' '.join(arguments)}", seconds=seconds)

    def shell(self, line: str, folder: Path) -> str:
        """Runs a line of a page in a shell and a folder, on this project."""
        written = line.replace("docker compose", shlex.join(self.command))
        return self.run(["bash", "-ec", written], line, folder=folder)

    def run(
        self,
        command: Sequence[str],
        name: str,
        *,
        folder: Path = REPOSITORY,
        seconds: float = START_SECONDS,
    ) -> str:
        """Runs a command and returns its output.

        Raises:
            CheckError: it failed, or took too long; the text has its name.
        """
        settings = set(re.findall(r"\$\{(\w+)", (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")))
        environment = {name: value for name, value in os.environ.items() if name not in settings}
        environment |= {name: self.bind for name in settings if name.endswith("BIND_ADDRESS")}
        environment |= {"PUBLIC_HOST": self.bind}
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"{name}: not done after {seconds:.0f} s") from None
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise CheckError(f"{name} failed:\n{said}")
        return done.stdout

    def services(self) -> set[str]:
        """Returns the services that the project runs, without those that an override leaves out."""
        described = json.loads(self.compose("config", "--format", "json"))["services"]
        return {
            name
            for name, service in described.items()
            if service.get("scale") != 0 and (service.get("deploy") or {}).get("replicas") != 0
        }

    def url(self, port: int) -> str:
        return f"http://{self.bind}:{port}"

    def get(self, port: int, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url(port)}{path}", params=parameters, timeout=ANSWER_SECONDS)
        answer.raise_for_status()
        return answer.json()

    def texts(self) -> list[str]:
        """Returns the texts in the sandbox's chat."""
        shown = self.get(8083, f"/api/chats/{CHAT}/messages", limit="1000")["messages"]
        return [each["message"].get("text", "") for each in shown]


def check(stack: Stack) -> None:
    step("build", lambda: stack.compose("build", seconds=900))
    step("up --wait", lambda: stack.compose("up", "--detach", "--wait"))
    key = stack.compose("exec", "-T", "alert-relay", "cat", "/secrets/api_key").strip()
    step("an event reaches the chat", lambda: event_arrives(stack, key))
    step("every target is up", lambda: targets_up(stack, bridges=1))
    step("an alert reaches the chat", lambda: alert_arrives(stack))
    step("--scale bridge=3", lambda: stack.compose("up", "--detach", "--wait", "--scale", "bridge=3"))
    step("every replica is scraped", lambda: targets_up(stack, bridges=3))
    step("an event reaches the chat", lambda: event_arrives(stack, key))
    step("every replica takes events", lambda: all_serve(stack, key))
    step("docs/backup.md", lambda: backed_up_and_restored(stack, key))


def step(what: str, do: Callable[[], object]) -> None:
    start = time.monotonic()
    try:
        do()
    except (AssertionError, httpx.HTTPError) as error:
        raise CheckError(f"{what}: {error}") from error
    print(f"  {time.monotonic() - start:6.1f} s  {what}", flush=True)


def post_event(stack: Stack, key: str, title: str) -> str:
    """Posts an event and returns the id of its message."""
    answer = httpx.post(
        f"{stack.url(8080)}/events",
        json={"type": "task_completion", "title": title},
        headers={"Authorization": f"Bearer {key}"},
        timeout=ANSWER_SECONDS,
    )
    if answer.status_code != 202:
        raise CheckError(f"POST /events answered {answer.status_code}: {answer.text}")
    return str(answer.json()["message_ids"][0])


def event_arrives(stack: Stack, key: str) -> None:
    title = f"compose-check {uuid.uuid4().hex[:8]}"
    message_id = post_event(stack, key, title)
    until("the event in the chat", lambda: any(title in text for text in stack.texts()), 60)

    def delivered() -> bool:
        answer = httpx.get(
            f"{stack.url(8080)}/api/v1/messages/{message_id}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=ANSWER_SECONDS,
        )
        return bool(answer.json()["status"] == "delivered")

    until("the message's own story", delivered, 30)


def targets_up(stack: Stack, bridges: int) -> None:
    jobs = stack.services() - {"postgres", "redis", "secrets", "alertmanager-config"}

    def missing() -> list[str]:
        targets = stack.get(9090, "/api/v1/targets")["data"]["activeTargets"]
        found = [each["labels"]["job"] for each in targets if each["health"] == "up"]
        wrong = [f"{job} is not up" for job in sorted(jobs - set(found))]
        if found.count("bridge") != bridges:
            wrong.append(f"{found.count('bridge')} of {bridges} bridges")
        return wrong

    give_up = time.monotonic() + 90
    while wrong := missing():
        if time.monotonic() > give_up:
            raise CheckError(f"Prometheus does not scrape everything: {', '.join(wrong)}")
        time.sleep(0.5)


def alert_arrives(stack: Stack) -> None:
    name = f"ComposeCheck{uuid.uuid4().hex[:8]}"
    labels = {"alertname": name, "severity": "critical", "service": "compose-check"}
    alert = {"labels": labels, "annotations": {"summary": "The alert path is checked"}}
    answer = httpx.post(f"{stack.url(9093)}/api/v2/alerts", json=[alert], timeout=ANSWER_SECONDS)
    answer.raise_for_status()
    # The resolved notification comes after the group interval of five minutes; tests/stack/test_end_to_end.py
    # covers it with a shorter interval.
    until("the alert in the chat", lambda: any(name in text for text in stack.texts()), 60)


def all_serve(stack: Stack, key: str) -> None:
    """Posts events until each of the three replicas has received one."""

    def takers() -> bool:
        post_event(stack, key, "compose-check replicas")
        query = 'count(sum by (instance) (http_requests_total{job="bridge", handler="/events"}) > 0)'
        found = stack.get(9090, "/api/v1/query", query=query)["data"]["result"]
        return bool(found and int(found[0]["value"][1]) == 3)

    until("requests at all three replicas", takers, 60)


def backed_up_and_restored(stack: Stack, key: str) -> None:
    """Runs the commands of the page, and looks for an old message after each restore."""
    message_id = post_event(stack, key, "compose-check before the backup")
    backup, copy_out, stop, restore, up, copy_in, restore_moved, up_again = page.of_compose()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for line in (backup, copy_out, stop, restore, up):
            stack.shell(line, here)
        assert message_status(stack, key, message_id) != 404
        with tarfile.open(here / "backup.tar.gz") as tar:
            stored = tar.extractfile("files/secrets/api_key")
            assert stored is not None
            assert stored.read().decode().strip() == key
        # The page restores a moved archive on a machine where no service runs yet.
        for line in (stop, copy_in, restore_moved, up_again):
            stack.shell(line, here)
    assert message_status(stack, key, message_id) != 404
    event_arrives(stack, key)


def message_status(stack: Stack, key: str, message_id: str) -> int:
    answer = httpx.get(
        f"{stack.url(8080)}/api/v1/messages/{message_id}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=ANSWER_SECONDS,
    )
    return answer.status_code


def take_down(stack: Stack) -> None:
    stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")


def logs(stack: Stack) -> str:
    """Returns the state and the last log lines of every container."""
    try:
        return stack.compose("ps", "--all") + stack.compose("logs", "--no-color", "--tail", "40")
    except CheckError as error:
        return str(error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--override", action="append", default=[], help="a further compose file")
    parser.add_argument("--bind", default="127.0.0.1", help="address that the ports are published on")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    options = parser.parse_args()
    stack = Stack(["compose.yaml", *options.override], options.bind)
    print(f"checking {' + '.join(map(str, map(Path, stack.files)))}", flush=True)
    try:
        take_down(stack)
        check(stack)
    except CheckError as error:
        print(logs(stack), file=sys.stderr)
        print(f"compose-check failed: {error}", file=sys.stderr)
        return 1
    else:
        print("compose.yaml does what it says")
        return 0
    finally:
        if not options.keep:
            with suppress(CheckError):  # what failed was said above
                take_down(stack)


if __name__ == "__main__":
    sys.exit(main())
