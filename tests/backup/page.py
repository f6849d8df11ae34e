"""The commands of docs/backup.md, so that tests run what people read."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"


def commands() -> list[str]:
    """Every command in a shell block, in the order of the page."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"  +", " ", line.strip()) for line in lines if line.strip()]


def of_compose() -> list[str]:
    """Those of Docker Compose; ``tests.stack.compose_check`` runs them."""
    return [command for command in commands() if command.startswith("docker compose ")]


def of_make_run() -> list[str]:
    """All others, and those within sentences."""
    inline = re.findall(r"`(\.venv/bin/python -m [^`]+)`", PAGE.read_text(encoding="utf-8"))
    return [command for command in commands() if command not in of_compose()] + inline


def of_cron() -> list[str]:
    """What cron runs, without its time and its folder."""
    return re.findall(r"^15 3 \* \* \* +cd \S+ && (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
