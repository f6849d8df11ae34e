"""A bridge that is killed, as by a power loss, at one moment of a file's way: ``python dying.py MOMENT``.

Everything is the bridge's own but that moment.
"""

import os
import signal
import sys
from collections.abc import Iterable
from typing import NoReturn

from services.bridge.app import create_app
from services.bridge.folder.files import File, Folder
from services.bridge.settings import BridgeSettings
from services.kit.runner import main

_take = Folder.take


def _die(_folder: Folder, _files: Iterable[File]) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _die_after_taking(folder: Folder, files: Iterable[File]) -> NoReturn:
    _take(folder, files)
    _die(folder, files)


if __name__ == "__main__":
    if sys.argv[1] == "committed":
        Folder.remove = _die  # type: ignore[method-assign, assignment] # the moment after the commit
    else:
        Folder.take = _die_after_taking  # type: ignore[method-assign, assignment] # the moment before it
    main(create_app, BridgeSettings)
