"""What `cct` prints: for people at a terminal, for pipes, or as JSON.

At a terminal lists are tables with colour. In a pipe each row is a line with tabs, without colour and without
a heading. With ``--json`` it is JSON. Texts of servers and people are printed without control characters.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

#: Colours of states of messages and questions, levels of health and findings.
_STYLES: Mapping[str, str] = {
    **dict.fromkeys(("delivered", "decided", "healthy", "active", "done", "ok", "sent"), "green"),
    **dict.fromkeys(("queued", "sending", "open", "running", "note", "scheduled"), "cyan"),
    **dict.fromkeys(("retry_wait", "unknown", "degraded", "warning", "expired", "suppressed"), "yellow"),
    **dict.fromkeys(("dead_letter", "unhealthy", "critical", "wrong", "failed", "revoked"), "red"),
}


def clean(text: object) -> str:
    """One line without control characters: a text from elsewhere must not move the cursor."""
    line = " ".join(str(text).split())
    return "".join(letter for letter in line if letter.isprintable())


def _console(*, to_error: bool) -> Console:
    return Console(stderr=to_error, highlight=False, markup=False, emoji=False, soft_wrap=True)


@dataclass(slots=True)
class Output:
    """Where a command prints.

    Args:
        json: whether results are JSON.
        quiet: whether notes and progress are left out.
    """

    json: bool = False
    quiet: bool = False
    out: Console = field(default_factory=lambda: _console(to_error=False))
    error: Console = field(default_factory=lambda: _console(to_error=True))

    @property
    def for_people(self) -> bool:
        """Whether a person reads the results at a terminal."""
        return self.out.is_terminal and not self.json

    def line(self, text: str | Text = "") -> None:
        """Prints a line of the result; in a pipe without colour, and with its tabs."""
        if self.out.is_terminal:
            self.out.print(text)
        else:
            _write(text.plain if isinstance(text, Text) else text)

    def note(self, text: str) -> None:
        """Prints a remark to stderr, unless the command is quiet."""
        if not self.quiet:
            self.error.print(clean(text), style="dim")

    def fail(self, text: str) -> None:
        """Prints an error to stderr, as one line."""
        self.error.print(Text.assemble(("cct: ", "bold red"), clean(text)))

    def result(self, value: BaseModel, text: str) -> None:
        """Prints one object: as JSON, or this text of it."""
        if self.json:
            self.record(value)
        else:
            self.line(clean(text))

    def record(self, value: BaseModel | Mapping[str, Any]) -> None:
        """Prints one object as JSON."""
        self._print_json(_plain(value), indent=2)

    def records(self, values: Iterable[BaseModel | Mapping[str, Any]]) -> None:
        """Prints a list of objects as JSON."""
        self._print_json([_plain(value) for value in values], indent=2)

    def json_line(self, value: BaseModel | Mapping[str, Any]) -> None:
        """Prints one object as a line of JSON, at once."""
        self._print_json(_plain(value), indent=None)

    def _print_json(self, value: Any, indent: int | None) -> None:
        _write(json.dumps(value, ensure_ascii=False, indent=indent))

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "nothing found"
    ) -> None:
        """Prints rows: a table for people, lines with tabs in a pipe."""
        found = [[clean(cell) for cell in row] for row in rows]
        if not self.for_people:
            for row in found:
                self.line("\t".join(row))
            return
        if not found:
            self.note(empty)
            return
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in found:
            table.add_row(*(Text(cell, style=style(cell), overflow="fold") for cell in row))
        self.out.print(table, soft_wrap=False)

    def progress(self, name: str) -> Progress:
        """A progress bar on stderr; it is silent in a pipe and if the command is quiet."""
        shown = self.error.is_terminal and not self.quiet
        return Progress(
            TextColumn(name), BarColumn(), MofNCompleteColumn(), console=self.error, disable=not shown
        )


def _write(line: str) -> None:
    """Writes a line to a pipe at once, since a program may wait for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def style(word: str) -> str:
    """The colour of a state; none for other words."""
    return _STYLES.get(word, "")


def _plain(value: BaseModel | Mapping[str, Any]) -> Any:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else dict(value)
