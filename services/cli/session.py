"""One run of a command: its common options, its client, its output, and how errors end it."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import typer
from pydantic import ValidationError

from services.cli import option_names
from services.cli.exit_codes import ExitCode
from services.cli.output import Output
from services.client import Client
from services.client.connection import Connection, find
from services.client.errors import (
    ClientError,
    ConfigurationError,
    FieldError,
    ForbiddenError,
    NotAuthorizedError,
    NotReachedError,
    ProblemError,
    invalid_fields,
    one_line,
)

PATIENCE_SECONDS = 5.0


class UsageError(Exception):
    """An argument cannot be used; the text names it and says what to write."""


@dataclass
class Session:
    """The options that every command has, and what follows from them.

    Args:
        url: of the bridge; None: found.
        key: API key; None: found.
        output: where it prints.
        options: of the command, such as ``--chat``; errors name them.
        resources: what is closed when the command ends.
    """

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    output: Output = field(default_factory=Output)
    options: frozenset[str] = frozenset()
    resources: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def connection(self) -> Connection:
        """The URLs and the key to use.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        return find(self.url, self.key)

    @cached_property
    def client(self) -> Client:
        """A client that waits for a bridge that is just restarting; it is closed at the end."""
        return self.resources.enter_context(self.connect(PATIENCE_SECONDS))

    def connect(self, patience: float) -> Client:
        """A client with another patience, seconds."""
        return Client(self.url, self.key, patience=patience)

    @property
    def now(self) -> datetime:
        """The time in the zone of this machine."""
        return datetime.now(UTC).astimezone()

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Ends the command with one line on stderr and its exit code if it fails."""
        try:
            with self.resources:
                yield
        except UsageError as error:
            self._end(str(error), ExitCode.NO_RESULT)
        except ValidationError as error:
            self._end(self._fields(invalid_fields(error)), ExitCode.REFUSED)
        except ProblemError as error:
            text = (
                f"{error.title} ({error.status}): {self._fields(error.errors)}"
                if error.errors
                else str(error)
            )
            self._end(f"{text}{self._remedy(error)}", ExitCode.REFUSED)
        except ClientError as error:
            self._end(f"{error}{self._remedy(error)}", ExitCode.NOT_DONE)

    def _fields(self, errors: Iterable[FieldError]) -> str:
        return one_line("; ".join(option_names.readable(error, self.options) for error in errors))

    def _end(self, text: str, code: ExitCode) -> None:
        self.output.fail(text)
        raise typer.Exit(code)

    def _remedy(self, error: ClientError) -> str:
        """What to do about errors whose cause is not in the request."""
        if isinstance(error, ConfigurationError):
            return ""  # its text says it; there is no connection to name
        connection = self.connection
        if isinstance(error, NotReachedError):
            return (
                f" (the URL is from {connection.url_from}). Start the suite (make run, or docker compose up),"
                " or give its URL with --url or CCT_URL."
            )
        if isinstance(error, NotAuthorizedError) and connection.key is None:
            return f" Give a key with --key or CCT_API_KEY: {connection.key_from}."
        if isinstance(error, NotAuthorizedError):
            return f" The key is from {connection.key_from}."
        if isinstance(error, ForbiddenError) and error.scope:
            return f" Use a key with the scope {error.scope}: cct keys create NAME --scope {error.scope}"
        return ""
