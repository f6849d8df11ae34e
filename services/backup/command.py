"""What the commands backup and restore share: signals, the file of settings, errors as lines, exit codes."""

import signal
import sys
from argparse import Namespace
from collections.abc import Callable

from services.backup.manifest import BackupError
from services.kit import runner
from services.kit.settings import StartError, read_env_file


def run(work: Callable[[Namespace], None], options: Namespace, failed: str) -> int:
    """Runs a command; returns its exit code.

    Args:
        work: the command.
        options: its options, with ``env_file``.
        failed: begins each line about an error.
    """
    runner.keep_files_private()
    # A shell's background job ignores SIGINT, which _end raises.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end)
    try:
        read_env_file(options.env_file)
        work(options)
    except (BackupError, StartError) as error:
        return _fail(failed, str(error))
    except KeyboardInterrupt:
        return _fail(failed, "interrupted")
    except OSError as error:
        return _fail(failed, f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))
    return 0


def say(line: str) -> None:
    """Prints a line of the result."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _end(*_: object) -> None:
    """Ends as Ctrl-C does: what is half done is undone."""
    signal.raise_signal(signal.SIGINT)


def _fail(failed: str, lines: str) -> int:
    for line in lines.splitlines():
        sys.stderr.write(f"{failed}: {line}\n")
    return 1
