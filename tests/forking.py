"""Runs our programs in forks of a helper process, which has imported the services once.

A fork runs the module as ``python -m`` does. Tests about the start of Python itself start a real process.
"""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Modules that the helper imports before the first fork.
PRELOADED = ("bridge.app", "alert_relay.app", "mcp_health.app", "dashboard.app", "telegram_sandbox.app")
PATIENCE_SECONDS = 60


class Programs:
    """Runs programs through the helper process."""

    def __init__(self, helper: "subprocess.Popen[str]", folder: Path) -> None:
        self._helper = helper
        self._folder = folder

    def run(
        self, module: str, *words: str, environment: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Runs ``python -m module words`` in the repository's folder, with only this environment."""
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        files = {name: str(self._folder / name) for name in ("stdout", "stderr")}
        order = {"module": module, "words": words, "environment": environment, "files": files}
        print(json.dumps(order), file=self._helper.stdin, flush=True)
        code = int(self._helper.stdout.readline())
        output = {name: Path(path).read_text(encoding="utf-8") for name, path in files.items()}
        return subprocess.CompletedProcess([module, *words], code, output["stdout"], output["stderr"])


@contextmanager
def programs() -> Iterator[Programs]:
    with (
        tempfile.TemporaryDirectory(prefix="cctelegram-forking-") as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.forking"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as helper,
    ):
        yield Programs(helper, Path(folder))
        assert helper.stdin is not None
        helper.stdin.close()  # ends the helper


def _next_order() -> dict[str, Any] | None:
    """Returns, in a fork, what it has to run; None in the helper when its input ends."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return dict(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def _run(order: dict[str, Any]) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(order["files"][name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["words"]
    signal.alarm(PATIENCE_SECONDS)
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(f"services.{name}")
    if (order := _next_order()) is not None:
        _run(order)
