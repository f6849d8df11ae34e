"""Writes docs/settings.md from the settings classes: python -m tests.house.settings_page."""

from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from tests.house.test_env_example import LINE, ROOT, read, shown

PAGE = ROOT / "docs" / "settings.md"
#: What a new installation sets, in this order.
FIRST = ("TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_IDS", "TELEGRAM_ALLOWED_USERS")
_HEAD = """# Settings

Every variable that the services read. Put them into `.env` in the folder of the clone: `make run` and
Docker Compose read it. The environment has precedence. Each one may also come from a file:
`API_KEY_FILE=/run/secrets/api_key` instead of `API_KEY`. Lists use commas, and an empty value counts as
unset. A value that cannot be used stops the start, with one line for each.

This page is written by `make settings-page`; [.env.example](../.env.example) has the same variables, to
copy.

## The three that matter first

`./cct setup` writes them ([a real bot](real-bot.md)).
"""


def page() -> str:
    """The text of the page."""
    parts = [_HEAD, *_table(FIRST)]
    for section, names in _sections().items():
        rest = [name for name in names if name not in FIRST]
        parts += [f"\n## {section}\n", *_table(rest)]
    return "\n".join(parts) + "\n"


def _sections() -> Mapping[str, list[str]]:
    """The variables of `.env.example`, by its headings."""
    sections: dict[str, list[str]] = {}
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            sections[line.removeprefix("## ")] = []
        elif found := LINE.match(line):
            sections[list(sections)[-1]].append(found[1])
    return sections


def _table(names: list[str] | tuple[str, ...]) -> Iterator[str]:
    entries, fields = shown(), read()
    yield "| variable | default | what it is | read by |"
    yield "|---|---|---|---|"
    for name in names:
        entry = entries[name]
        default = f"`{entry.value}`" if entry.value else ""
        comment = entry.comment.replace("|", "\\|")
        yield f"| `{name}` | {default} | {comment} | {_readers(fields.get(name, []))} |"


_SERVICES = {
    "BridgeSettings": "bridge",
    "AlertRelaySettings": "alert-relay",
    "McpHealthSettings": "mcp-health",
    "DashboardSettings": "dashboard",
    "SandboxSettings": "sandbox",
}


def _readers(fields: list[tuple[str, FieldInfo]]) -> str:
    """The services that read a variable; classes that theirs are built on are left out."""
    classes = {where.partition(".")[0] for where, _ in fields}
    found = [service for name, service in _SERVICES.items() if name in classes]
    if len(found) == len(_SERVICES):
        return "all"
    return ", ".join(found) or "compose.yaml"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
