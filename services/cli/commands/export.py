"""``cct export``: writes all messages that match as JSON lines or CSV."""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TextIO

import typer

from services.cli import arguments
from services.cli.arguments import ALL, Conditions
from services.cli.command import command, root
from services.cli.session import Session, UsageError
from services.contracts.messages import Message

#: A page of the API; a larger one is refused.
PAGE = 500
COLUMNS = tuple(Message.model_fields)


@command(root, "export", "cct export --since 7d --format csv --output messages.csv")
def export(
    session: Session,
    *,
    status: arguments.Status = None,
    conditions: Conditions = ALL,
    format_: Annotated[
        Literal["jsonl", "csv"], typer.Option("--format", help="One JSON object a line, or CSV.")
    ] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; it appears when it is complete. [stdout]")
    ] = None,
) -> None:
    """Write all messages that match, newest first."""
    found = session.client.every_message(
        **conditions.of(session), status=arguments.states(status), limit=PAGE
    )
    with _opened(output) as file:
        count = _write(_counted(session, found), file, format_)
    session.output.note(
        f"{count} {'message' if count == 1 else 'messages'}" + (f" in {output}" if output else "")
    )


def _counted(session: Session, messages: Iterable[Message]) -> Iterator[Message]:
    """Shows how many messages have been written; how many there are is not known before the end."""
    with session.output.progress("Exporting") as bar:
        task = bar.add_task("", total=None)
        for message in messages:
            yield message
            bar.advance(task)


def _write(messages: Iterable[Message], file: TextIO, format_: Literal["jsonl", "csv"]) -> int:
    count = 0
    table = csv.writer(file) if format_ == "csv" else None
    if table:
        table.writerow(COLUMNS)
    for message in messages:
        count += 1
        if table:
            table.writerow([_cell(value) for value in message.model_dump(mode="json").values()])
        else:
            file.write(message.model_dump_json() + "\n")
    return count


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """The file to write to; an export that fails leaves no half file under its name.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"--output: cannot write {path}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
