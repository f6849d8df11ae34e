"""``python -m services.restore ARCHIVE``: puts a backup back to where the settings say.

Stop the services first. What may have been sent since the backup is held or marked (``--unsent``), never
sent as if it were new.
"""

import argparse
import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from services.backup import archive, command, in_place, recovery
from services.backup.command import say
from services.backup.recovery import Choices
from services.backup.settings import BackupSettings
from services.kit import logs
from services.kit.clock import SystemClock
from services.kit.settings import add_env_file_option, load
from services.outbox.delivery.after_restore import Unsent


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_command, _parser().parse_args(arguments), "not restored")


def _command(options: argparse.Namespace) -> None:
    if options.in_place is not None:
        _mark_in_place(options)
    elif options.verify:
        _verify(archive.newest(options.archive))
    else:
        _restore(archive.newest(options.archive), options)


def _verify(path: Path) -> None:
    listed = archive.verify(path)
    recovery.check_versions(listed)
    for part in listed.parts:
        revisions = " ".join(f"{table}={revision}" for table, revision in part.revisions.items())
        say(f"verified    {part.name} {part.size} bytes {revisions}".rstrip())
    say(f"{path.name}: complete, of {listed.created_at}, by version {listed.version}")


def _restore(path: Path, options: argparse.Namespace) -> None:
    settings = load(BackupSettings)
    logs.configure("WARNING")
    choices = Choices(Unsent(options.unsent), overwrite=options.overwrite)
    asyncio.run(recovery.restore(path, settings, choices, now=SystemClock().time(), say=say))
    say("done: start the services; docs/backup.md says what to look at")


def _mark_in_place(options: argparse.Namespace) -> None:
    settings = load(BackupSettings)
    logs.configure("WARNING")
    unsent, now = Unsent(options.unsent), SystemClock().time()
    marking = in_place.mark(settings, unsent, backup_at=options.in_place, now=now, say=say)
    asyncio.run(marking)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.restore", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("archive", type=_path, nargs="?", help="an archive, or a folder: its newest archive")
    what.add_argument(
        "--in-place",
        type=_time,
        metavar="TIME",
        help="no archive: something else has restored the databases, and they are of this time (RFC 3339)",
    )
    parser.add_argument(
        "--unsent",
        choices=[choice.value for choice in Unsent],
        default=Unsent.HOLD.value,
        help="messages that waited at the backup: hold them until a person replays them (default),"
        " or send them marked as possible duplicates",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="set data that is there aside, instead of refusing"
    )
    add_env_file_option(parser)
    parser.add_argument("--verify", action="store_true", help="verify the archive; change nothing")
    return parser


def _path(text: str) -> Path:
    return Path(text).absolute()


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError("a time with its offset, such as 2026-01-31T08:00:00Z")
    return found.timestamp()


if __name__ == "__main__":
    raise SystemExit(main())
