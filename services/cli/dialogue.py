"""Questions of a command to the person at the terminal. Without a terminal a problem ends the command."""

import sys
from dataclasses import dataclass

import click
import typer

from services.cli.exit_codes import ExitCode
from services.cli.output import Output, clean


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Asks on stderr, so that the result alone is on stdout.

    Args:
        output: of the command.
    """

    output: Output

    @property
    def has_person(self) -> bool:
        """Whether a person can answer."""
        return sys.stdin.isatty()

    def say(self, text: str) -> None:
        """Prints a line of the conversation, unless the command is quiet."""
        if not self.output.quiet:
            self.output.error.print(clean(text))

    def report(self, text: str, code: ExitCode) -> None:
        """Prints a problem that the person can solve; without a person it ends the command."""
        self.output.fail(text)
        if not self.has_person:
            raise typer.Exit(code)

    def ended(self, text: str, code: ExitCode) -> typer.Exit:
        """Prints a problem; returns the exception that ends the command."""
        self.output.fail(text)
        return typer.Exit(code)

    def secret(self, label: str) -> str:
        """A text that is typed without being shown."""
        if not self.has_person:
            raise self.ended(
                f"{label}: set TELEGRAM_BOT_TOKEN: there is no terminal to type it at.", ExitCode.NO_RESULT
            )
        return str(typer.prompt(label, hide_input=True, err=True))

    def text(self, label: str) -> str:
        """A text; empty if the person presses Enter alone."""
        return str(typer.prompt(label, default="", show_default=False, err=True)).strip()

    def confirm(self, question: str) -> bool:
        """Whether the person says yes; without a person, yes."""
        return not self.has_person or typer.confirm(question, default=True, err=True)

    def number(self, label: str, most: int) -> int | None:
        """The digit that the person presses, from 1 to ``most`` (9); None for Enter. Others are refused."""
        while True:
            click.echo(f"{clean(label)}: ", err=True, nl=False)
            key = click.getchar()
            click.echo(clean(key), err=True)
            if key in ("\x03", "\x04"):
                raise typer.Abort
            if key in ("\r", "\n"):
                return None
            if key.isdecimal() and 1 <= int(key) <= most:
                return int(key)
            click.echo(f"Press a number from 1 to {most}, or Enter.", err=True)
